import type { AttemptFaultCode } from '../contract/fault.ts'
import type { Json } from '../contract/fields.ts'
import type { Breaker } from '../core/breaker.ts'
import { recordBegin, recordEnd } from '../core/credential-use.ts'
import { LIMITS } from '../limits.ts'
import { ownerOf } from './availability.ts'
import type { CredentialRow } from './credential-store.ts'
import type { Desk } from './desk.ts'
import { isStandIn } from './stand-in.ts'

/** Tells what concerns no job, as `Transitions.announce` does. */
export type Announce = (
  type: 'credential.disabled' | 'credential.cooled' | 'credential.restored',
  data: { [key: string]: Json },
  requestId: string,
) => void

/**
 * A credential's life beside its jobs: what it was used for, when it is switched off, cooled and back, and when a deleted
 * one is forgotten. Every method runs inside the caller's transaction.
 */
export class Credentials {
  readonly #desk: Desk
  readonly #announce: Announce
  readonly #unwritten = new Set<string>()
  #flushedAtMs = 0

  constructor(desk: Desk, announce: Announce) {
    this.#desk = desk
    this.#announce = announce
  }

  find(provider: string, name: string | null): CredentialRow | null {
    const setup = this.#desk.books.setups.get(provider)
    if (name !== null && setup?.standIn?.name === name) return setup.standIn
    return setup?.credentials.find((item) => item.name === name) ?? null
  }

  /** One that is deleted but still has work under way is found, too. */
  findOwner(provider: string, name: string | null): CredentialRow | null {
    return ownerOf(this.#desk.books, provider, name)
  }

  begun(credential: CredentialRow, now: number): void {
    const { books } = this.#desk
    const name = books.credentialName(credential.provider, credential.name)
    books.uses.set(name, recordBegin(books.use(name), now))
    this.#unwritten.add(name)
  }

  ended(provider: string, name: string, code: AttemptFaultCode | null, costMicros: number | null): void {
    const { books, ambient } = this.#desk
    if (!this.findOwner(provider, name)) return
    const identity = books.credentialName(provider, name)
    books.uses.set(identity, recordEnd(books.use(identity), code, costMicros, ambient.now()))
    this.#unwritten.add(identity)
  }

  /** The provider refused its secret: it serves no more until somebody looks after it. */
  disable(credential: CredentialRow, code: AttemptFaultCode, requestId: string): void {
    const { books, admin, ambient } = this.#desk
    if (!credential.enabled || isStandIn(credential)) return
    admin.credentials.save({
      ...credential,
      enabled: false,
      disabled_reason: 'the provider refused it',
      updated_at_ms: ambient.now(),
    })
    books.configure(admin)
    this.#tell('credential.disabled', credential, { code }, requestId)
  }

  /** Its breaker went from `before` to what it is now. */
  breakerMoved(credential: CredentialRow, before: Breaker, code: AttemptFaultCode | null, requestId: string): void {
    const { books } = this.#desk
    const now = books.breaker(books.credentialName(credential.provider, credential.name))
    if (now.state === 'open' && now !== before) {
      this.#tell('credential.cooled', credential, { code, until: new Date(now.untilMs).toISOString() }, requestId)
    } else if (now.state === 'closed' && before.state !== 'closed') {
      this.#tell('credential.restored', credential, {}, requestId)
    }
  }

  /** An operator looked after it: it starts afresh, whatever it did before. `before` is the row as it was. */
  mend(before: CredentialRow, requestId: string): void {
    const { books, admin } = this.#desk
    const name = books.credentialName(before.provider, before.name)
    const wasCooled = books.breaker(name).state !== 'closed'
    books.breakers.delete(name)
    admin.deleteBreaker(name)
    if (wasCooled || before.disabled_reason !== null) this.#tell('credential.restored', before, {}, requestId)
  }

  /**
   * What a turn does for credentials: writes their uses now and then, and forgets deleted ones that nothing needs any more.
   * Returns when there is more to write, or null.
   */
  turn(now: number): number | null {
    for (const setup of this.#desk.books.setups.values()) for (const row of setup.retired) this.#forgetIdle(row)
    if (this.#unwritten.size === 0) return null
    const dueAtMs = this.#flushedAtMs + LIMITS.credentialUseFlushMs
    // A clock that was set back must not put it off.
    if (now < dueAtMs && this.#flushedAtMs <= now) return dueAtMs
    this.#flushedAtMs = now
    for (const name of this.#unwritten) {
      const use = this.#desk.books.uses.get(name)
      if (use) this.#desk.admin.credentials.saveUse(name, use)
    }
    this.#unwritten.clear()
    return null
  }

  #forgetIdle(row: CredentialRow): void {
    const { books, admin, jobs } = this.#desk
    if (books.credentialLimiter(row.provider, row.name).load.running > 0) return
    jobs.flush()
    if (admin.credentials.isAwaited(row.provider, row.name)) return
    const name = books.credentialName(row.provider, row.name)
    admin.credentials.delete(row.provider, row.name)
    admin.credentials.deleteUse(name)
    admin.deleteBreaker(name)
    admin.deleteLimiter(name)
    books.forgetCredential(name)
    for (const pace of books.paces.ofProvider(row.provider)) {
      if (pace.of.credential !== row.name) continue
      books.dropPace(pace.name)
      admin.deleteLimiter(pace.name)
    }
    books.configure(admin)
  }

  #tell(
    type: Parameters<Announce>[0],
    { provider, name }: CredentialRow,
    data: { [key: string]: Json },
    requestId: string,
  ): void {
    this.#announce(type, { provider, credential: name, request_id: requestId, ...data }, requestId)
  }
}
