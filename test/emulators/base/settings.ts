export interface CommonOptions {
  /** 0 (the default) takes a free port. */
  port?: number
  /** Keys that are let in. Without it every key is. */
  apiKeys?: string[]
  /** From request to answer, or to the first byte of a stream; of a job, how long it runs. Default 0. */
  latencyMs?: number
  /** Unix milliseconds. Drives every timestamp, window and expiry, not the timers. */
  now?: () => number
}

/** What every emulator can be told while it runs. */
export interface CommonSettings {
  latencyMs: number
  /** Share of the valid requests, 0 to 1, that draw one of `faults`. */
  faultRate: number
  /** Directives such as `fail:503` or `slow:200 cut_after` (several with a space between). */
  faults: string[]
  /** Seed of the draws; setting it starts the sequence anew. */
  seed: number
  apiKeys: string[] | null
  /** Added to the clock, for windows and expiry without waiting. */
  clockOffsetMs: number
}

export type ControlOf<Own extends CommonSettings> = Partial<Own> & {
  /** Ends every wait that runs now (latency, slow, stall with a time), so that a test need not sleep through it. */
  finishNow?: boolean
}

export const commonSettings = ({ latencyMs = 0, apiKeys }: CommonOptions): CommonSettings => ({
  latencyMs,
  faultRate: 0,
  faults: [],
  seed: 1,
  apiKeys: apiKeys ?? null,
  clockOffsetMs: 0,
})

/**
 * The first thing wrong with a control message, or undefined. A misspelt setting must not pass in silence. `known` has a
 * value of the right type for each name.
 */
export function problemWithControl(control: unknown, known: object): string | undefined {
  if (typeof control !== 'object' || control === null || Array.isArray(control)) return 'control must be an object'
  for (const [name, value] of Object.entries(control)) {
    if (!Object.hasOwn(known, name)) return `unknown setting ${name}`
    const problem = problemWithValue(name, value, known[name as keyof typeof known])
    if (problem) return `${name} ${problem}`
  }
  return undefined
}

function problemWithValue(name: string, value: unknown, example: unknown): string | undefined {
  if (name === 'apiKeys' && value === null) return undefined
  if (name === 'apiKeys' || name === 'faults') {
    return Array.isArray(value) && value.every((item) => typeof item === 'string') ? undefined : 'must list strings'
  }
  if (typeof value !== typeof example) return `must be a ${typeof example}`
  if (typeof value !== 'number') return undefined
  if (!Number.isFinite(value)) return 'must be finite'
  return value < 0 && name !== 'clockOffsetMs' ? 'must not be negative' : undefined
}
