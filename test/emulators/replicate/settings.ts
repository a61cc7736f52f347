export interface ReplicateOptions {
  /** 0 (the default) takes a free port. */
  port?: number
  /** Tokens that are let in. Without it every non-empty token is. */
  apiKeys?: string[]
  /** How long a prediction runs. Default 0. */
  latencyMs?: number
  /** How long inputs, outputs and files are kept after the end. Default one hour, as documented. */
  urlLifetimeMs?: number
  /** Creates a minute per token; the provider's own default is 600. */
  createsPerMinute?: number
  /** Unix milliseconds. Drives every timestamp, expiry and rate limit, not the timers. */
  now?: () => number
  /** false gives flat pictures in the right size, which cost next to nothing. */
  draw?: boolean
}

export interface ReplicateSettings {
  latencyMs: number
  /** Up to this much is added to the latency, evenly spread. */
  latencyJitterMs: number
  /** How long a prediction is `starting` before it is `processing`. */
  bootMs: number
  urlLifetimeMs: number
  draw: boolean
  /** Share of the valid creates, 0 to 1, that draw one of `faults`. */
  faultRate: number
  /** Directives such as `fail:503` or `slow:200 cut_after` (several with a space between). */
  faults: string[]
  /** Seed of the draws; setting it starts the sequence anew. */
  seed: number
  apiKeys: string[] | null
  createsPerMinute: number
  /** Creates that may come at once; the provider names it for accounts of little credit: 1, at 6 a minute. */
  createsBurst: number
  /** All other calls. */
  requestsPerMinute: number
  /** What `Prefer: wait` answers when the output is there: as recorded (processing, data URIs), or the final object. */
  waitAnswer: 'recorded' | 'final'
  /** Whether predictions show their webhook; the reference does not list the field, the official client's types do. */
  showWebhook: boolean
  /** Predictions to a page of the list. */
  pageSize: number
  /** How long a prediction is missing from the list. */
  listLagMs: number
  /** Lists that are answered with a 500 from here on. */
  listFailures: number
  /** The wire takes HTTPS only; tests receive webhooks on this machine. */
  allowLoopbackWebhooks: boolean
  /** Between deliveries of a webhook that was not taken; three are made in all. */
  webhookRetryMs: number
  /** Added to the clock, for expiry without waiting. */
  clockOffsetMs: number
}

export type ReplicateControl = Partial<ReplicateSettings> & {
  /** Signs with a new secret from here on. */
  rotateWebhookSecret?: boolean
  /** Ends every wait that runs now (latency, slow, stall with a time), so that a test need not sleep through it. */
  finishNow?: boolean
}

export function initialSettings(options: ReplicateOptions): ReplicateSettings {
  return {
    latencyMs: options.latencyMs ?? 0,
    latencyJitterMs: 0,
    bootMs: 0,
    urlLifetimeMs: options.urlLifetimeMs ?? 3_600_000,
    draw: options.draw ?? true,
    faultRate: 0,
    faults: [],
    seed: 1,
    apiKeys: options.apiKeys ?? null,
    createsPerMinute: options.createsPerMinute ?? 600,
    createsBurst: options.createsPerMinute ?? 600,
    requestsPerMinute: 3_000,
    waitAnswer: 'recorded',
    showWebhook: true,
    pageSize: 100,
    listLagMs: 0,
    listFailures: 0,
    allowLoopbackWebhooks: false,
    webhookRetryMs: 500,
    clockOffsetMs: 0,
  }
}

/** The first thing wrong with a control message, or undefined. A misspelt setting must not pass in silence. */
export function problemWithControl(control: unknown): string | undefined {
  if (typeof control !== 'object' || control === null || Array.isArray(control)) return 'control must be an object'
  const known = { ...initialSettings({}), rotateWebhookSecret: false, finishNow: false }
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
  if (name === 'waitAnswer') return value === 'recorded' || value === 'final' ? undefined : 'must be recorded or final'
  if (typeof value !== 'number') return undefined
  if (!Number.isFinite(value)) return 'must be finite'
  return value < 0 && name !== 'clockOffsetMs' ? 'must not be negative' : undefined
}
