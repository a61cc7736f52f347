import type { Fault } from '../contract/fault.ts'
import type { AttemptEnd, RateHint } from '../contract/rpc.ts'
import { pause, relax, slow } from '../core/admission.ts'
import { type Breaker, type BreakerEvent, releaseProbe, stepBreaker } from '../core/breaker.ts'
import { FAULT_TABLE } from '../core/outcome.ts'
import { recordRun } from '../core/track-record.ts'
import { LIMITS } from '../limits.ts'
import type { JobRow } from './job-store.ts'
import type { Desk } from './transitions.ts'

/**
 * What an attempt's end says about its provider: limits narrow or widen, breakers open or close, a credential is switched
 * off, the model's track record grows. Every method runs inside the caller's transaction.
 */
export class Verdicts {
  readonly #desk: Desk
  readonly #unwritten = new Set<string>()
  #flushedAtMs = 0

  constructor(desk: Desk) {
    this.#desk = desk
  }

  /** Called while the job still counts as running; `credential` is the one that the attempt used. */
  learn(row: JobRow, end: AttemptEnd, credential: string | null, startedAtMs: number): void {
    const code = end.fault ? attemptCode(end.fault) : null
    const meaning = code === null ? 'no' : FAULT_TABLE[code].breaker
    this.#limits(row, end.fault, meaning === 'slows')
    if (end.rate) this.hint(row.model, end.rate)
    const current = credential !== null && this.#isCurrent(row.provider, credential, startedAtMs) ? credential : null
    this.#breakers(row.provider, current, meaning)
    if (meaning === 'disables' && current !== null) this.#disable(row, current)
    if (code === null || meaning === 'counts') this.#remember(row.model, code === null, end.providerMs)
  }

  /** Rate headers: with nothing left, nothing is sent until they say that there is again. */
  hint(model: string, rate: RateHint): void {
    const { books, admin, ambient } = this.#desk
    const [provider] = books.limiters(model)
    if (!provider || rate.remaining > 0) return
    const load = pause(provider.load, ambient.now(), Math.min(rate.resetAfterMs, LIMITS.retryAfterMaxMs))
    books.setLoad(provider.name, load)
    admin.saveLimiter(provider.name, load)
  }

  #limits(row: JobRow, problem: Fault | null, isTooFast: boolean): void {
    const { books, admin, ambient } = this.#desk
    const [provider] = books.limiters(row.model)
    if (!provider) return
    const now = ambient.now()
    let load = provider.load
    if (isTooFast)
      load = slow(load, now, Math.min(problem?.retryAfterMs ?? LIMITS.backoffBaseMs, LIMITS.retryAfterMaxMs))
    else if (!problem) load = relax(load)
    if (load === provider.load) return
    books.setLoad(provider.name, load)
    admin.saveLimiter(provider.name, load)
    this.#noteShare(row, provider.load.adaptive.share, load.adaptive.share)
  }

  /** The first step down and the last one up: those between would fill the log. */
  #noteShare(row: JobRow, before: number, after: number): void {
    const { log } = this.#desk
    if (before >= 1 && after < 1) log.note('limits.narrowed', { provider: row.provider, share: after }, row)
    if (before < 1 && after >= 1) log.note('limits.restored', { provider: row.provider }, row)
  }

  #breakers(provider: string, credential: string | null, meaning: (typeof FAULT_TABLE)['canceled']['breaker']): void {
    const { books } = this.#desk
    const ofProvider = books.limiter(provider)
    const ofCredential = credential === null ? null : books.credentialName(provider, credential)
    if (meaning === 'counts') this.#step(ofProvider, 'failure')
    else if (meaning === 'no') this.#step(ofProvider, 'success')
    // Too fast, out of quota, a bad key: the provider is up, which ends its probe without a verdict.
    else this.#set(ofProvider, releaseProbe(books.breaker(ofProvider)))
    if (ofCredential === null) return
    if (meaning === 'opens') this.#step(ofCredential, 'trip')
    else if (meaning === 'no') this.#step(ofCredential, 'success')
    // What failed was not the credential: whoever uses it next probes it.
    else this.#set(ofCredential, releaseProbe(books.breaker(ofCredential)))
  }

  #step(name: string, event: BreakerEvent): void {
    const { books, ambient } = this.#desk
    this.#set(name, stepBreaker(books.breaker(name), event, ambient.now()))
  }

  #set(name: string, next: Breaker): void {
    const { books, admin } = this.#desk
    const before = books.breaker(name)
    if (next === before || (isQuiet(next) && isQuiet(before))) return
    books.breakers.set(name, next)
    if (isQuiet(next)) admin.deleteBreaker(name)
    else admin.saveBreaker(name, next)
    if (before.state === 'closed' && next.state === 'open') this.#noteBreaker(name, true)
    if (before.state !== 'closed' && next.state === 'closed') this.#noteBreaker(name, false)
  }

  /** It opened, or closed for good: probes between are many. */
  #noteBreaker(name: string, opened: boolean): void {
    const { books, log } = this.#desk
    for (const { id, credentials } of books.setups.values()) {
      if (name === books.limiter(id)) log.note(opened ? 'breaker.opened' : 'breaker.closed', { provider: id })
      const credential = credentials.find((item) => name === books.credentialName(id, item.name))
      if (!credential) continue
      log.note(opened ? 'credential.rested' : 'credential.restored', { provider: id, credential: credential.name })
    }
  }

  /** False where the secret was changed since the attempt took it: what became of the old one says nothing of the new. */
  #isCurrent(provider: string, name: string, startedAtMs: number): boolean {
    const credential = this.#desk.books.setups.get(provider)?.credentials.find((item) => item.name === name)
    return credential !== undefined && credential.updated_at_ms <= startedAtMs
  }

  #disable(row: JobRow, name: string): void {
    const { books, admin, ambient, log } = this.#desk
    const { provider } = row
    const credential = books.setups.get(provider)?.credentials.find((item) => item.name === name)
    if (!credential?.enabled) return
    admin.saveCredential({
      ...credential,
      enabled: false,
      disabled_reason: 'the provider refused it',
      updated_at_ms: ambient.now(),
    })
    log.note('credential.disabled', { provider, credential: name }, row)
    books.configure(admin)
  }

  /** Kept in memory and written now and then: losing the last seconds of it changes no promise. */
  #remember(model: string, succeeded: boolean, durationMs: number): void {
    const { books, admin, ambient } = this.#desk
    books.records.set(model, recordRun(books.record(model), succeeded, durationMs))
    this.#unwritten.add(model)
    if (ambient.now() - this.#flushedAtMs < LIMITS.trackRecordFlushMs) return
    this.#flushedAtMs = ambient.now()
    for (const name of this.#unwritten) admin.saveTrackRecord(name, books.record(name))
    this.#unwritten.clear()
  }
}

const isQuiet = (breaker: Breaker): boolean => breaker.state === 'closed' && breaker.failures === 0

/** A fault that is not an attempt's own would be a bug of an adapter: it is treated as a malformed answer. */
export const attemptCode = (problem: Fault): keyof typeof FAULT_TABLE =>
  problem.code in FAULT_TABLE ? (problem.code as keyof typeof FAULT_TABLE) : 'provider_protocol_error'
