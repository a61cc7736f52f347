import { type AttemptFaultCode, type Fault, fault } from '../contract/fault.ts'
import { microsToUsd } from '../contract/fields.ts'
import type { CallEnd, OpenCall, Opening } from '../contract/foreground-rpc.ts'
import type { Quota } from '../contract/quota.ts'
import type { AttemptRef, RateHints } from '../contract/rpc.ts'
import { type Usage, usageOf } from '../contract/usage.ts'
import { FAULT_TABLE } from '../core/outcome.ts'
import type { CallEnded } from '../job/text-call.ts'
import type { Failed } from '../providers/provider.ts'
import type { Foreground, Leases } from './foreground.ts'
import { quotaHeaders } from './quota-headers.ts'
import { Refused, refusedBy } from './refused.ts'

/** What a call on the line needs of the request that it serves. */
export type World = {
  instance: string
  startedAtMs: number
  now(): number
  /** Aborted when the client has left, or by `stop`. */
  signal: AbortSignal
  /** Ends the provider's call: the Instance has. */
  stop(): void
  /** Lets work go on behind the answer. */
  waitUntil(work: Promise<unknown>): void
}

/** How an attempt went, beside its answer. */
export type Ending = {
  fault: Failed | null
  usage: Usage | null
  delivered: boolean
  /** It came from a cache on the way, and cost nothing. */
  cached: boolean
  serviceTier: string | null
  providerRequestId: string | null
  providerMs: number
  rate: RateHints
}

/**
 * One call on the line, as the Instance sees it: opened once, then attempt by attempt, each closed exactly once. What follows
 * an attempt that failed is the Instance's to say; a good end is told behind the answer.
 */
export class LineCall {
  readonly #foreground: Foreground
  readonly #leases: Leases
  readonly #world: World
  #opening: Opening | null = null
  #release: () => void = () => {}
  #quotas: Quota[] = []
  #attempts = 0
  /** What was waited for at providers, and for turns: not our overhead. */
  #waitedMs = 0

  constructor(foreground: Foreground, leases: Leases, world: World) {
    this.#foreground = foreground
    this.#leases = leases
    this.#world = world
  }

  /** The attempt under way. */
  get opening(): Opening {
    if (this.#opening === null) throw new Error('the call has no attempt under way')
    return this.#opening
  }

  /** Throws `Refused` where the call is not let in. */
  async open(call: OpenCall): Promise<Opening> {
    const opened = await this.#foreground.open(call)
    if (!opened.ok) throw refusedBy(opened)
    this.#quotas = opened.value.quotas
    return this.#begin(opened.value.opening)
  }

  /** Ends an attempt that failed, and begins the next. Throws `Refused` where there is none. */
  async again(ending: Ending & { fault: Failed }): Promise<Opening> {
    this.#waitedMs += ending.providerMs
    const askedAtMs = this.#world.now()
    const next = await this.#close(ending, (ref, end) => this.#foreground.close(ref, end))
    // It answers when the next attempt may begin.
    this.#waitedMs += this.#world.now() - askedAtMs
    if (next === null) throw this.#refused(faultFrom(ending.fault))
    if (next.next === 'attempt') return this.#begin(next.opening)
    throw this.#refused(next.fault ?? faultFrom(ending.fault))
  }

  /** Ends the last attempt, behind the answer. Without effect where it is closed already. */
  settle(ending: Ending): void {
    if (this.#opening === null) return
    this.#world.waitUntil(this.#close(ending, (ref, end) => this.#foreground.settle(ref, end)))
  }

  /** Something of ours broke: nobody can say what became of the attempt. Without effect where it is closed already. */
  fail(): void {
    this.settle(BROKEN)
  }

  cost(usage: Usage, { cached, serviceTier }: Pick<Ending, 'cached' | 'serviceTier'>): number | null {
    return cached ? 0 : this.#foreground.cost(this.opening, usage, serviceTier)
  }

  /** `providerMs` is what the attempt under way has waited for its provider so far. */
  headers(providerMs: number, dropped: readonly string[]): Record<string, string> {
    const overheadMs = this.#world.now() - this.#world.startedAtMs - this.#waitedMs - providerMs
    return {
      ...quotaHeaders(this.#quotas),
      'x-switchyard-model': this.opening.model,
      'x-switchyard-attempts': String(this.#attempts),
      ...overheadHeader(overheadMs),
      ...limitHeader(this.opening),
      ...(dropped.length > 0 ? { 'x-switchyard-dropped': dropped.join(', ') } : {}),
    }
  }

  async #begin(opening: Opening): Promise<Opening> {
    const { instance, now, signal, stop } = this.#world
    this.#opening = opening
    this.#attempts += 1
    this.#release = this.#leases.hold(instance, opening, { renew: (refs) => this.#foreground.renew(refs), stop, now })
    if (opening.delayMs > 0) {
      this.#waitedMs += opening.delayMs
      await pause(opening.delayMs, signal)
    }
    return opening
  }

  /** Null where the Instance could not be told: its lease tells it, and nobody knows what would have followed. */
  async #close<T>(
    { fault: failed, rate, ...ending }: Ending,
    tell: (ref: AttemptRef, end: CallEnd) => Promise<T>,
  ): Promise<T | null> {
    const { job, attempt } = this.opening
    this.#opening = null
    // An attempt that has ended has no lease: renewed while the next one's turn is waited for, it would be told to be over.
    this.#release()
    const end: CallEnd = {
      ...ending,
      fault: failed && faultFrom(failed),
      abandoned: failed?.code === 'canceled',
      rate: { requests: rate.requests, tokens: rate.tokens },
    }
    try {
      return await tell({ job, attempt }, end)
    } catch (error) {
      logLost(job, attempt, error)
      return null
    }
  }

  #refused(problem: Fault): Refused {
    return new Refused(problem, {
      ...quotaHeaders(this.#quotas),
      'x-switchyard-attempts': String(this.#attempts),
      ...repeatHeader(problem),
    })
  }
}

const BROKEN: Ending = {
  fault: { kind: 'fault', code: 'outcome_unknown', message: 'Switchyard failed while it answered.' },
  usage: null,
  delivered: true,
  cached: false,
  serviceTier: null,
  providerRequestId: null,
  providerMs: 0,
  rate: { requests: null, tokens: null },
}

/**
 * Official clients repeat a 5xx by themselves; what cannot help, or would be paid for twice, is not to be repeated. What another
 * credential, or a second try, could have mended was tried here.
 */
export const repeatHeader = ({ code }: Fault): Record<string, string> => {
  const { retry } = FAULT_TABLE[code as AttemptFaultCode] ?? { retry: 'backoff' }
  return retry === 'backoff' || retry === 'after_reset' ? {} : { 'x-should-retry': 'false' }
}

export const overheadHeader = (ms: number): Record<string, string> => ({
  'x-switchyard-overhead-ms': String(Math.round(Math.max(0, ms))),
})

/** A limit that the client did not ask for, and that its answer may end at. */
const limitHeader = ({ outputLimit }: Opening): Record<string, string> =>
  outputLimit === undefined ? {} : { 'x-switchyard-output-limit': String(outputLimit) }

export const costHeader = (micros: number | null): Record<string, string> =>
  micros === null ? {} : { 'x-switchyard-cost-usd': String(microsToUsd(micros)) }

/**
 * The ending of an attempt that was answered in one piece or not at all. Where nothing was sent, or what was sent is known to
 * have bought nothing, nothing was used.
 */
export const endingOf = (ended: CallEnded<never> & { outcome: Failed }): Ending & { fault: Failed } => ({
  fault: ended.outcome,
  usage: ended.sent && ended.outcome.costMicros !== 0 ? null : usageOf({}),
  delivered: false,
  cached: ended.cached,
  serviceTier: null,
  providerRequestId: ended.outcome.providerRequestId ?? null,
  providerMs: ended.providerMs,
  rate: ended.rate,
})

const OURS = new Set<Failed['code']>(['canceled', 'no_provider', 'deadline_exceeded', 'outcome_unknown'])

export const faultFrom = (failed: Failed): Fault =>
  fault(failed.code, failed.message, {
    source: OURS.has(failed.code) ? 'switchyard' : 'provider',
    ...(failed.param === undefined ? {} : { param: failed.param }),
    ...(failed.retryAfterMs === undefined ? {} : { retryAfterMs: failed.retryAfterMs }),
  })

/** Over at once where the client leaves meanwhile. */
const pause = (waitMs: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, waitMs)
    signal.addEventListener('abort', done, { once: true })
  })

const logLost = (job: string, attempt: number, error: unknown): void => {
  const name = error instanceof Error ? error.name : typeof error
  console.error(JSON.stringify({ level: 'error', event: 'call.close_failed', job, attempt, name }))
}
