export interface IdeogramOptions {
  /** 0 (the default) takes a free port. */
  port?: number
  /** Keys that are let in. Without it every non-empty key is. */
  apiKeys?: string[]
  /** How long a generation takes. Default 0. */
  latencyMs?: number
  /** Generations at once per key; the provider's own default is 10. */
  maxInflight?: number
  /** How long an image URL works. Default one hour; the provider documents none. */
  urlLifetimeMs?: number
  /** Unix milliseconds. Drives every timestamp and expiry, not the timers. */
  now?: () => number
  /** false gives flat pictures in the right size, which cost next to nothing. */
  draw?: boolean
}

export interface IdeogramSettings {
  latencyMs: number
  /** Up to this much is added to the latency, evenly spread. */
  latencyJitterMs: number
  maxInflight: number
  urlLifetimeMs: number
  draw: boolean
  /** Share of the valid requests, 0 to 1, that draw one of `faults`. */
  faultRate: number
  /** Directives such as `fail:503` or `slow:200 cut_after` (several with a space between). */
  faults: string[]
  /** Seed of the draws; setting it starts the sequence anew. */
  seed: number
  apiKeys: string[] | null
  /** Account of a key, as after a rotation, where several keys open the same one. A key that is not named has its own. */
  accounts: Record<string, string>
  /** The wire takes public HTTPS hosts only; tests receive webhooks on this machine. */
  allowLoopbackWebhooks: boolean
  /** Added to the clock, for expiry without waiting. */
  clockOffsetMs: number
}

export type IdeogramControl = Partial<IdeogramSettings> & {
  /** Signs with a new key from here on; the key set serves it and the one before. */
  rotateWebhookKey?: boolean
  /** Ends every wait that runs now (latency, slow, stall with a time), so that a test need not sleep through it. */
  finishNow?: boolean
}

export function initialSettings(options: IdeogramOptions): IdeogramSettings {
  return {
    latencyMs: options.latencyMs ?? 0,
    latencyJitterMs: 0,
    maxInflight: options.maxInflight ?? 10,
    urlLifetimeMs: options.urlLifetimeMs ?? 3_600_000,
    draw: options.draw ?? true,
    faultRate: 0,
    faults: [],
    seed: 1,
    apiKeys: options.apiKeys ?? null,
    accounts: {},
    allowLoopbackWebhooks: false,
    clockOffsetMs: 0,
  }
}

/** The first thing wrong with a control message, or undefined. A misspelt setting must not pass in silence. */
export function problemWithControl(control: unknown): string | undefined {
  if (typeof control !== 'object' || control === null || Array.isArray(control)) return 'control must be an object'
  const known = { ...initialSettings({}), rotateWebhookKey: false, finishNow: false }
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
