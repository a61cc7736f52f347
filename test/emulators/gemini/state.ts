import type { IncomingMessage, ServerResponse } from 'node:http'
import { Limiter } from '../openai/limits.ts'
import { seededRandom } from '../random.ts'
import { Ledger } from './ledger.ts'
import { type GeminiControl, type GeminiOptions, type GeminiSettings, initialSettings } from './settings.ts'

/** Everything the request handlers share. */
export interface State {
  /** Origin of this emulator, once it listens. */
  url: string
  settings: GeminiSettings
  ledger: Ledger
  limiter: Limiter
  now(): number
  /** Draws faults in chaos runs. */
  chance(): number
  /** A number that no earlier call of this kind gave. */
  next(): number
  /** Resolves after that long, at once for 0, and never once the emulator is closed. */
  wait(durationMs: number): Promise<void>
  control(patch: GeminiControl): GeminiSettings
  reset(): void
  dispose(): void
}

/** One request and its answer: `/{version}/models/{model}:{method}`. */
export interface Exchange {
  request: IncomingMessage
  response: ServerResponse
  apiVersion: string
  model: string
  method: string
  apiKey: string
  /** `alt=sse`: events instead of a list. */
  sse: boolean
}

export function createState(options: GeminiOptions): State {
  const timers = new Map<NodeJS.Timeout, () => void>()
  const clock = options.now ?? Date.now
  let random = seededRandom(1)
  let numbers = 0
  const finishNow = () => {
    const waiting = [...timers]
    timers.clear()
    for (const [timer, resolve] of waiting) {
      clearTimeout(timer)
      resolve()
    }
  }
  const state: State = {
    url: '',
    settings: initialSettings(options),
    ledger: new Ledger(),
    limiter: new Limiter(),
    now: () => clock() + state.settings.clockOffsetMs,
    chance: () => random(),
    next: () => {
      numbers += 1
      return numbers
    },
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
    control({ finishNow: finish, ...patch }) {
      Object.assign(state.settings, patch)
      if (patch.seed !== undefined) random = seededRandom(patch.seed)
      if (finish) finishNow()
      return { ...state.settings }
    },
    reset() {
      state.settings = initialSettings(options)
      state.ledger = new Ledger()
      state.limiter = new Limiter()
      random = seededRandom(state.settings.seed)
    },
    dispose() {
      for (const timer of timers.keys()) clearTimeout(timer)
      timers.clear()
    },
  }
  return state
}
