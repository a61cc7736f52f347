export interface GeminiOptions {
  /** 0 (the default) takes a free port. */
  port?: number
  /** Keys that are let in. Without it every key is. */
  apiKeys?: string[]
  /** From request to answer, or to the first byte of a stream. Default 0. */
  latencyMs?: number
  /** Between the events of a stream. Default 0. */
  chunkDelayMs?: number
  /** Unix milliseconds. Drives every timestamp and window, not the timers. */
  now?: () => number
  /** false gives flat pictures, which cost next to nothing. */
  draw?: boolean
}

export interface GeminiSettings {
  latencyMs: number
  chunkDelayMs: number
  /** Pieces of text in an answer whose prompt asks for no number of them. */
  chunks: number
  draw: boolean
  /** Checks requests against the reference; off for runs that measure something else. */
  validate: boolean
  /** Share of the valid requests, 0 to 1, that draw one of `faults`. */
  faultRate: number
  /** Directives such as `fail:503` or `cut:200 slow:5` (several with a space between). */
  faults: string[]
  /** Seed of the draws; setting it starts the sequence anew. */
  seed: number
  apiKeys: string[] | null
  /** A sliding minute per key and model; 0 is no limit. */
  requestsPerMinute: number
  tokensPerMinute: number
  /** Added to the clock, for windows without waiting. */
  clockOffsetMs: number
}

export type GeminiControl = Partial<GeminiSettings> & {
  /** Ends every wait that runs now, so that a test need not sleep through it. */
  finishNow?: boolean
}

export function initialSettings(options: GeminiOptions): GeminiSettings {
  return {
    latencyMs: options.latencyMs ?? 0,
    chunkDelayMs: options.chunkDelayMs ?? 0,
    chunks: 8,
    draw: options.draw ?? true,
    validate: true,
    faultRate: 0,
    faults: [],
    seed: 1,
    apiKeys: options.apiKeys ?? null,
    requestsPerMinute: 0,
    tokensPerMinute: 0,
    clockOffsetMs: 0,
  }
}

/** The first thing wrong with a control message, or undefined. A misspelt setting must not pass in silence. */
export function problemWithControl(control: unknown): string | undefined {
  if (typeof control !== 'object' || control === null || Array.isArray(control)) return 'control must be an object'
  const known = { ...initialSettings({}), finishNow: false }
  for (const [name, value] of Object.entries(control)) {
    if (!Object.hasOwn(known, name)) return `unknown setting ${name}`
    const example: unknown = known[name as keyof typeof known]
    if (name === 'faults' || name === 'apiKeys') {
      if (name === 'apiKeys' && value === null) continue
      if (!Array.isArray(value) || value.some((item) => typeof item !== 'string')) return `${name} must list strings`
    } else if (typeof value !== typeof example) return `${name} must be a ${typeof example}`
    else if (typeof value === 'number' && !Number.isFinite(value)) return `${name} must be finite`
    else if (typeof value === 'number' && value < 0 && name !== 'clockOffsetMs') return `${name} must not be negative`
  }
  return undefined
}
