import { randomBytes } from 'node:crypto'
import { seededRandom } from '../random.ts'
import { Ledger } from './ledger.ts'
import { RateLimiter } from './limits.ts'
import { initialSettings, type ReplicateControl, type ReplicateOptions, type ReplicateSettings } from './settings.ts'

/** Everything the request handlers share. */
export interface State {
  /** Origin of this emulator, once it listens. */
  url: string
  settings: ReplicateSettings
  ledger: Ledger
  limiter: RateLimiter
  /** `whsec_` and base64. */
  webhookSecret: string
  /** Aborts at close: what still waits ends without an answer. */
  closing: AbortController
  now(): number
  /** Draws faults in chaos runs. */
  chance(): number
  /** Resolves after that long, at once for 0, and never once the emulator is closed. */
  wait(durationMs: number): Promise<void>
  /** Calls back after that long, whatever `finishNow` says; never once closed. */
  later(durationMs: number, act: () => void): void
  control(patch: ReplicateControl): ReplicateSettings
  reset(): void
  dispose(): void
}

const newSecret = () => `whsec_${randomBytes(24).toString('base64')}`

export function createState(options: ReplicateOptions): State {
  const timers = new Map<NodeJS.Timeout, () => void>()
  const deadlines = new Set<NodeJS.Timeout>()
  const clock = options.now ?? Date.now
  let random = seededRandom(1)
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
    limiter: new RateLimiter(),
    webhookSecret: newSecret(),
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
    later(durationMs, act) {
      const timer = setTimeout(() => {
        deadlines.delete(timer)
        act()
      }, durationMs)
      deadlines.add(timer)
    },
    control({ rotateWebhookSecret, finishNow: finish, ...patch }) {
      Object.assign(state.settings, patch)
      if (patch.seed !== undefined) random = seededRandom(patch.seed)
      if (rotateWebhookSecret) state.webhookSecret = newSecret()
      if (finish) finishNow()
      return { ...state.settings }
    },
    reset() {
      state.settings = initialSettings(options)
      state.ledger = new Ledger()
      state.limiter = new RateLimiter()
      random = seededRandom(state.settings.seed)
    },
    dispose() {
      state.closing.abort()
      for (const timer of [...timers.keys(), ...deadlines]) clearTimeout(timer)
      timers.clear()
      deadlines.clear()
    },
  }
  return state
}
