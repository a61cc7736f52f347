import { seededRandom } from '../random.ts'
import { type CommonSettings, type ControlOf, problemWithControl } from './settings.ts'
import { createTimers } from './timers.ts'

/** What the request handlers of every emulator share. */
export interface EmulatorState<Own extends CommonSettings, Told extends ControlOf<Own>> {
  /** Origin of this emulator, once it listens. */
  url: string
  settings: Own
  /** Aborts at close: what still waits ends without an answer. */
  closing: AbortSignal
  now(): number
  /** A number that no earlier call of this kind gave. */
  next(): number
  /** In chaos runs one of the faults that are set; undefined for requests that chance lets through. */
  drawFault(): string | undefined
  /** Resolves after that long, at once for 0, and never once the emulator is closed. */
  wait(durationMs: number): Promise<void>
  /** Calls back after that long, whatever `finishNow` says; never once closed. */
  later(durationMs: number, act: () => void): void
  /** Changes settings and returns all of them. Throws a RangeError for a setting or directive that does not exist. */
  control(patch: Told): Own
  reset(): void
  dispose(): void
}

export interface Makings<Own extends CommonSettings, Memory extends object> {
  /** As at the start. */
  settings(): Own
  /** What is counted and remembered until a reset. */
  memory(): Memory
  now: (() => number) | undefined
  readFaultSetting(setting: string): { problem: string | undefined }
  /** What a control message can set off besides `finishNow`. */
  acts?: Record<string, () => void>
  /** What the types of settings cannot say. */
  problemWithSettings?(patch: Partial<Own>): string | undefined
}

export function assembleState<Own extends CommonSettings, Told extends ControlOf<Own>, Memory extends object>(
  makings: Makings<Own, Memory>,
): EmulatorState<Own, Told> & Memory {
  const { now: clock = Date.now, readFaultSetting } = makings
  const timers = createTimers()
  const closing = new AbortController()
  const acts: Record<string, () => void> = { ...makings.acts, finishNow: timers.finishNow }
  const known = { ...makings.settings(), ...Object.fromEntries(Object.keys(acts).map((name) => [name, false])) }
  let random = seededRandom(makings.settings().seed)
  let numbers = 0

  const problemWith = (patch: Told): string | undefined =>
    problemWithControl(patch, known) ??
    makings.problemWithSettings?.(patch) ??
    patch.faults?.map((fault) => readFaultSetting(fault).problem).find(Boolean)

  const common: EmulatorState<Own, Told> = {
    url: '',
    settings: makings.settings(),
    closing: closing.signal,
    now: () => clock() + state.settings.clockOffsetMs,
    next: () => {
      numbers += 1
      return numbers
    },
    drawFault() {
      const { faultRate, faults } = state.settings
      if (faultRate === 0 || faults.length === 0 || random() >= faultRate) return undefined
      return faults[Math.floor(random() * faults.length)]
    },
    wait: timers.wait,
    later: timers.later,
    control(patch) {
      const wrong = problemWith(patch)
      if (wrong) throw new RangeError(wrong)
      for (const [name, value] of Object.entries(patch)) {
        const act = acts[name]
        if (!act) Object.assign(state.settings, { [name]: value })
        else if (value === true) act()
      }
      if (patch.seed !== undefined) random = seededRandom(patch.seed)
      return { ...state.settings }
    },
    reset() {
      Object.assign(state, makings.memory(), { settings: makings.settings() })
      random = seededRandom(state.settings.seed)
    },
    dispose() {
      closing.abort()
      timers.clear()
    },
  }
  const state = Object.assign(common, makings.memory())
  return state
}
