import type { Fault } from '../contract/fault.ts'
import { type AttemptEnd, type RateHints, refText } from '../contract/rpc.ts'
import { wasRefused } from '../core/adaptive.ts'
import { heed, initialLoad, type Limiter, type LimiterLoad, relax, slow } from '../core/admission.ts'
import { type Breaker, type BreakerEvent, isTelling, stepBreaker } from '../core/breaker.ts'
import { FAULT_TABLE } from '../core/outcome.ts'
import { isWhole } from '../core/pace.ts'
import { recordRun } from '../core/track-record.ts'
import { LIMITS } from '../limits.ts'
import { inService } from './availability.ts'
import type { CredentialRow } from './credential-store.ts'
import type { Credentials } from './credentials.ts'
import type { Desk } from './desk.ts'
import type { AttemptRow, JobRow } from './job-rows.ts'
import type { Pace } from './model-paces.ts'
import { releaseProbes } from './transitions.ts'

/**
 * What an attempt's end says about its provider: limits narrow or widen, breakers open or close, a credential is switched
 * off, the model's track record grows. Every method runs inside the caller's transaction.
 */
export class Verdicts {
  readonly #desk: Desk
  readonly #credentials: Credentials
  readonly #unwritten = new Set<string>()
  #flushedAtMs = 0

  constructor(desk: Desk, credentials: Credentials) {
    this.#desk = desk
    this.#credentials = credentials
  }

  /** Called while the job still counts as running; `attempt` is the one that ended. */
  learn(row: JobRow, end: AttemptEnd, attempt: AttemptRow | null): void {
    const code = end.fault ? attemptCode(end.fault) : null
    const meaning = code === null ? 'good' : FAULT_TABLE[code].breaker
    const used = attempt?.credential ?? null
    if (used !== null) this.#credentials.ended(row.provider, used, code, end.costMicros)
    this.#limits(row, used, end.fault, meaning === 'slows')
    if (end.rates?.requests || end.rates?.tokens) this.heed(row, used, end.rates)
    for (const pace of this.#pacesOf(row, used)) this.#dropWhole(pace)
    const credential = this.#credentials.find(row.provider, used)
    // What became of an older secret says nothing of the one that has replaced it.
    const current = credential && attempt && attempt.secret >= credential.secret ? credential : null
    const before = current && this.#desk.books.breaker(this.#nameOf(current))
    this.#breakers(row, current, meaning)
    // Too fast, out of quota, a bad key: the provider is up, which ends its probe without a verdict. So does what failed
    // for another reason than the credential: whoever uses it next probes it.
    releaseProbes(this.#desk, row)
    if (current && before) this.#credentials.breakerMoved(current, before, code, row.request_id)
    if (meaning === 'disables' && current && code) this.#credentials.disable(current, code, row.request_id)
    if (code === null || meaning === 'counts') this.#remember(row.model, code === null, end.providerMs)
  }

  /** What a provider's rate headers say of the calls to come. */
  heed(row: JobRow, credential: string | null, rates: RateHints): void {
    const limiter = this.#limiterOf(row, credential)
    this.#adapt(row, limiter, heed(limiter, rates, this.#desk.ambient.now()))
  }

  /** Whether they change anything. */
  isNews(row: JobRow, credential: string | null, rates: RateHints): boolean {
    const limiter = this.#limiterOf(row, credential)
    return heed(limiter, rates, this.#desk.ambient.now()) !== limiter.load
  }

  #limits(row: JobRow, credential: string | null, problem: Fault | null, isTooFast: boolean): void {
    const { books, ambient } = this.#desk
    if (isTooFast) {
      const limiter = this.#limiterOf(row, credential)
      // A wait of zero is no wish: it would be a hot loop.
      const waitMs = Math.min(problem?.retryAfterMs || LIMITS.backoffBaseMs, LIMITS.retryAfterMaxMs)
      this.#adapt(row, limiter, slow(limiter.load, ambient.now(), waitMs))
    } else if (!problem) {
      const [provider] = books.limiters(row.model)
      const own = credential === null ? null : books.credentialLimiter(row.provider, credential)
      for (const limiter of [provider, own, ...this.#pacesOf(row, credential)])
        if (limiter) this.#adapt(row, limiter, relax(limiter.load))
    }
  }

  /**
   * The log tells of the first refusal and of the last step up: those between would fill it, and what rate headers take and
   * give is no news.
   */
  #adapt(row: JobRow, limiter: Limiter, load: LimiterLoad): void {
    const { log } = this.#desk
    const [before, after] = [wasRefused(limiter.load.adaptive), wasRefused(load.adaptive)]
    const { share } = load.adaptive
    const whose = { provider: row.provider, ...(isPace(limiter) ? { model: limiter.of.model } : {}) }
    if (!before && after) log.note('limits.narrowed', { ...whose, share }, row)
    if (before && !after) log.note('limits.restored', whose, row)
    this.#setLoad(limiter, load)
  }

  /**
   * A provider counts per account: with several credentials in service, what one is told stops that one, and the others serve.
   * Where it counts per model too, it stops that model alone.
   */
  #limiterOf({ provider, model }: JobRow, credential: string | null): Limiter | Pace {
    const { books } = this.#desk
    const others = inService(books, provider).filter((item) => item.name !== credential)
    const own = this.#credentials.findOwner(provider, credential)
    const alone = own && others.length > 0 ? own.name : null
    if (books.countsByModel(provider)) return books.paces.findOrBegin({ provider, model, credential: alone })
    if (alone !== null) return books.credentialLimiter(provider, alone)
    const [limiter] = books.limiters(`${provider}/`)
    return limiter ?? { name: books.limiter(provider), rules: { concurrency: null, rates: [] }, load: initialLoad() }
  }

  #setLoad(limiter: Limiter | Pace, load: LimiterLoad): void {
    const { books, admin, ambient } = this.#desk
    if (load === limiter.load) return
    if (isPace(limiter)) {
      admin.saveLimiter(limiter.name, books.keepPace(limiter, load))
      for (const name of books.paces.surplus(ambient.now())) this.#drop(name)
      return
    }
    books.setLoad(limiter.name, load)
    admin.saveLimiter(limiter.name, load)
  }

  /** Paces of the model that an attempt may have taught something. */
  #pacesOf({ model }: JobRow, credential: string | null): Pace[] {
    const { books } = this.#desk
    return [null, ...(credential === null ? [] : [credential])].flatMap((own) => books.paces.find(model, own) ?? [])
  }

  #dropWhole({ name, load }: Pace): void {
    if (isWhole(load, this.#desk.ambient.now())) this.#drop(name)
  }

  #drop(name: string): void {
    this.#desk.books.dropPace(name)
    this.#desk.admin.deleteLimiter(name)
  }

  #breakers(
    { id, attempt, provider }: JobRow,
    credential: CredentialRow | null,
    meaning: (typeof FAULT_TABLE)['canceled']['breaker'],
  ): void {
    const { books } = this.#desk
    const ofProvider = books.limiter(provider)
    const ofCredential = credential === null ? null : this.#nameOf(credential)
    if (meaning === 'counts') this.#step(ofProvider, 'failure')
    else if (meaning === 'good') this.#step(ofProvider, 'success')
    if (ofCredential === null || !isTelling(books.breaker(ofCredential), refText({ job: id, attempt }))) return
    if (meaning === 'opens') this.#step(ofCredential, 'trip')
    else if (meaning === 'good') this.#step(ofCredential, 'success')
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

  /** It opened, or closed for good: probes between are many. Credentials tell of themselves by events. */
  #noteBreaker(name: string, opened: boolean): void {
    const { books, log } = this.#desk
    for (const id of books.setups.keys()) {
      if (name === books.limiter(id)) log.note(opened ? 'breaker.opened' : 'breaker.closed', { provider: id })
    }
  }

  #nameOf({ provider, name }: CredentialRow): string {
    return this.#desk.books.credentialName(provider, name)
  }

  /** Kept in memory and written now and then: losing the last seconds of it changes no promise. */
  #remember(model: string, succeeded: boolean, durationMs: number): void {
    const { books, admin, ambient } = this.#desk
    const record = recordRun(books.record(model), succeeded, durationMs)
    // Models of one's own servers have any name: those used last are remembered.
    books.records.delete(model)
    books.records.set(model, record)
    this.#unwritten.add(model)
    for (const oldest of books.records.keys()) {
      if (books.records.size <= LIMITS.modelsRemembered) break
      books.records.delete(oldest)
      this.#unwritten.delete(oldest)
      admin.deleteTrackRecord(oldest)
    }
    if (ambient.now() - this.#flushedAtMs < LIMITS.trackRecordFlushMs) return
    this.#flushedAtMs = ambient.now()
    for (const name of this.#unwritten) admin.saveTrackRecord(name, books.record(name))
    this.#unwritten.clear()
  }
}

const isPace = (limiter: Limiter | Pace): limiter is Pace => 'of' in limiter

const isQuiet = (breaker: Breaker): boolean => breaker.state === 'closed' && breaker.failures === 0

/** A fault that is not an attempt's own would be a bug of an adapter: it is treated as a malformed answer. */
export const attemptCode = (problem: Fault): keyof typeof FAULT_TABLE =>
  problem.code in FAULT_TABLE ? (problem.code as keyof typeof FAULT_TABLE) : 'provider_protocol_error'
