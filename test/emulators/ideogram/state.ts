import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { seededRandom } from '../random.ts'
import { Ledger } from './ledger.ts'
import { type IdeogramControl, type IdeogramOptions, type IdeogramSettings, initialSettings } from './settings.ts'
import { createKeyRing, type KeyRing } from './webhooks.ts'

/** Everything the request handlers share. */
export interface State {
  /** Origin of this emulator, once it listens. */
  url: string
  settings: IdeogramSettings
  ledger: Ledger
  keys: KeyRing
  /** Signs image URLs. */
  urlSecret: Buffer
  /** Aborts at close: what still waits ends without an answer. */
  closing: AbortController
  now(): number
  /** Draws faults in chaos runs. */
  chance(): number
  /** Resolves after that long, at once for 0, and never once the emulator is closed. */
  wait(durationMs: number): Promise<void>
  control(patch: IdeogramControl): IdeogramSettings
  reset(): void
  dispose(): void
}

/** One request and its answer. */
export interface Exchange {
  request: IncomingMessage
  response: ServerResponse
  url: URL
}

export function createState(options: IdeogramOptions): State {
  const timers = new Map<NodeJS.Timeout, () => void>()
  const clock = options.now ?? Date.now
  let random = seededRandom(1)
  const state: State = {
    url: '',
    settings: initialSettings(options),
    ledger: new Ledger(),
    keys: createKeyRing(),
    urlSecret: randomBytes(32),
    closing: new AbortController(),
    now: () => clock() + state.settings.clockOffsetMs,
    chance: () => random(),
    wait(durationMs) {
      if (durationMs <= 0) return Promise.resolve()
      return new Promise((resolve) => {
        const timer = setTimeout(() => {
          timers.delete(timer)
          resolve()
        }, durationMs)
        timers.set(timer, resolve)
      })
    },
    control({ rotateWebhookKey, finishNow, ...patch }) {
      Object.assign(state.settings, patch)
      if (patch.seed !== undefined) random = seededRandom(patch.seed)
      if (rotateWebhookKey) state.keys.rotate()
      if (finishNow) {
        const waiting = [...timers]
        timers.clear()
        for (const [timer, resolve] of waiting) {
          clearTimeout(timer)
          resolve()
        }
      }
      return { ...state.settings }
    },
    reset() {
      state.settings = initialSettings(options)
      state.ledger = new Ledger()
      random = seededRandom(state.settings.seed)
    },
    dispose() {
      state.closing.abort()
      for (const timer of timers.keys()) clearTimeout(timer)
      timers.clear()
    },
  }
  return state
}

/** Answers with JSON and resolves true when all of it went to the connection, false when the client was gone. */
export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<boolean> {
  return sendBytes(response, status, Buffer.from(JSON.stringify(body)), {
    'content-type': 'application/json',
    ...headers,
  })
}

/** As `sendJson`, for any bytes. */
export function sendBytes(
  response: ServerResponse,
  status: number,
  body: Buffer,
  headers: Record<string, string>,
): Promise<boolean> {
  return new Promise((resolve) => {
    if (response.destroyed || response.socket?.destroyed) return resolve(false)
    response.once('finish', () => resolve(true))
    response.once('close', () => resolve(false))
    response.writeHead(status, { 'content-length': String(body.length), ...headers })
    response.end(body)
  })
}
