import { DurableObject } from 'cloudflare:workers'
import {
  type Assignment,
  type AttemptRef,
  type CredentialSecret,
  type Report,
  type ReportReply,
  refText,
} from '../contract/rpc.ts'
import { earliest } from '../core/alarm.ts'
import { AlarmClock } from '../core/alarm-clock.ts'
import { setBackMs } from '../core/clock.ts'
import type { Env } from '../env.ts'
import { createVault, type Vault } from '../instance/vault.ts'
import { LIMITS } from '../limits.ts'
import { migrate } from '../storage/migrations.ts'
import { giveBackParked, runAttempt, type Step } from './attempt.ts'
import type { LaneRpc } from './lane-rpc.ts'
import { LaneStore } from './lane-store.ts'
import { Outbox } from './outbox.ts'
import { readResume } from './resume.ts'
import { LANE_MIGRATIONS } from './schema.ts'
import { Turnstile } from './turnstile.ts'

/** A job actor at work: what ends it, what it is about, whether its provider has news meanwhile, and when it is over. */
type Actor = { abort: AbortController; assignment: Assignment; hasNews: boolean; over: Promise<void> }

/**
 * A lane hosts up to six job actors of one instance, each driving one attempt. It is named `{instance}/{number}`. What an
 * actor has reached is kept in the lane's database; the alarm takes it up again when the provider is to be asked anew, and
 * after a restart. A lane decides nothing about a job: it reports, and does what the answer says.
 */
export class Lane extends DurableObject<Env> implements LaneRpc {
  readonly #store: LaneStore
  readonly #vault: Vault
  #outbox: Outbox
  readonly #checking = new Turnstile(LIMITS.checksPerLane)
  readonly #actors = new Map<string, Actor>()
  readonly #instance: string
  readonly #number: number
  readonly #bornAtMs = Date.now()
  /** Attempts that wait for their provider, and when it is to be asked: the part of the database that the alarm needs. */
  readonly #parked = new Map<string, number>()
  /** Attempts with a row. */
  readonly #kept = new Set<string>()
  /** What is to be kept unless its attempt is over in a moment. */
  readonly #unkept = new Map<string, { actor: Actor; resume: string }>()
  /** Rows whose attempt has ended and was heard. */
  readonly #forgettable: AttemptRef[] = []
  /** Secrets as they are sealed now, where the Instance said so: an assignment that set out before arrives with an older seal. */
  readonly #secrets = new Map<string, CredentialSecret>()
  readonly #alarm: AlarmClock
  /** The latest time seen. */
  #latestMs = 0

  constructor(state: DurableObjectState, env: Env) {
    super(state, env)
    migrate(state.storage.sql, state.storage, LANE_MIGRATIONS, Date.now())
    const [instance = '', number = '0'] = (state.id.name ?? '').split('/')
    this.#instance = instance
    this.#number = Number(number)
    this.#store = new LaneStore(state.storage.sql)
    this.#vault = createVault(env.MASTER_KEY)
    this.#alarm = new AlarmClock((atMs) => void state.storage.setAlarm(atMs))
    for (const kept of this.#store.all()) {
      this.#kept.add(refText(kept.assignment))
      this.#parked.set(refText(kept.assignment), kept.dueAtMs)
    }
    this.#outbox = this.#openOutbox()
  }

  async assign(assignments: Assignment[]): Promise<void> {
    for (const assignment of assignments) this.#begin(assignment, assignment.resume)
  }

  async check(attempts: AttemptRef[]): Promise<{ known: string[]; bornAtMs: number }> {
    this.#takeUpDue()
    const isKnown = (ref: AttemptRef): boolean =>
      this.#actors.has(refText(ref)) || this.#outbox.holds(ref) || this.#parked.has(refText(ref))
    return { known: attempts.filter(isKnown).map(refText), bornAtMs: this.#bornAtMs }
  }

  async stop(attempts: AttemptRef[]): Promise<void> {
    this.#stop(attempts)
  }

  /** The provider says that something has changed: it is asked now, not when it was due. */
  async poke(attempt: AttemptRef): Promise<void> {
    const actor = this.#actors.get(refText(attempt))
    // The answer that it waits for may have been made before.
    if (actor) actor.hasNews = true
    const kept = this.#kept.has(refText(attempt)) ? this.#store.find(attempt) : null
    if (kept) this.#begin(kept.assignment, kept.resume)
  }

  async renew(secrets: CredentialSecret[], keyId: string): Promise<number> {
    for (const secret of secrets) this.#secrets.set(secret.identity, secret)
    const older = new Set<string>()
    const renew = (assignment: Assignment): Assignment => {
      const renewed = this.#renewed(assignment)
      if (renewed.credential && renewed.credential.sealed.keyId !== keyId) older.add(refText(renewed))
      return renewed
    }
    for (const { assignment, resume, dueAtMs } of this.#store.all()) {
      const renewed = renew(assignment)
      if (renewed !== assignment) this.#store.keep(renewed, resume, dueAtMs)
    }
    // At work: what is opened stays open; what is kept from now on has the new seal.
    for (const actor of this.#actors.values()) actor.assignment = renew(actor.assignment)
    return older.size
  }

  /** The instance is being deleted: stop everything and keep nothing. */
  async destroy(): Promise<void> {
    const actors = [...this.#actors.values()]
    for (const actor of actors) actor.abort.abort()
    // What is still to be told, and work that comes with the answer to it, is of an instance that is no more.
    this.#outbox.close()
    this.#outbox = this.#openOutbox()
    // One may be writing to the bucket, which is emptied next. What hangs must not keep an instance from going.
    const { promise: late, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, LIMITS.leaseMs)
    await Promise.race([Promise.allSettled(actors.map(({ over }) => over)), late])
    clearTimeout(timer)
    this.#actors.clear()
    this.#parked.clear()
    this.#kept.clear()
    this.#unkept.clear()
    this.#forgettable.length = 0
    // Numbers of secrets begin anew in an instance that is made under the same name.
    this.#secrets.clear()
    this.#alarm.rang()
    await this.ctx.storage.deleteAlarm()
    await this.ctx.storage.deleteAll()
    migrate(this.ctx.storage.sql, this.ctx.storage, LANE_MIGRATIONS, Date.now())
  }

  override async alarm(): Promise<void> {
    this.#alarm.rang()
    this.#takeUpDue()
  }

  // ------------------------------------------------------------------------------------------------- private

  #takeUpDue(): void {
    const now = Date.now()
    this.#see(now)
    for (const [ref, dueAtMs] of this.#parked) {
      const kept = dueAtMs <= now ? this.#store.find(readRef(ref)) : null
      if (kept) this.#begin(kept.assignment, kept.resume)
    }
    this.#setAlarm()
  }

  #stop(attempts: AttemptRef[]): void {
    for (const ref of attempts) {
      const kept = this.#kept.has(refText(ref)) ? this.#store.find(ref) : null
      this.#forgetNow(ref)
      this.#parked.delete(refText(ref))
      const actor = this.#actors.get(refText(ref))
      actor?.abort.abort()
      // Who is looking for a lost answer gives back itself what it finds.
      if (kept && (!actor || readResume(kept.resume).stage === 'poll'))
        this.ctx.waitUntil(giveBackParked(kept.assignment, kept.resume, this.#toCancel()))
    }
  }

  /** Starts an actor, unless the attempt already has one. It runs on after the call that began it. */
  #begin(assignment: Assignment, resume: string | null): void {
    const ref = refText(assignment)
    // One that has ended here and waits to be heard is not begun again.
    if (this.#actors.has(ref) || this.#outbox.holds(assignment)) return
    this.#parked.delete(ref)
    const actor: Actor = {
      abort: new AbortController(),
      assignment: this.#renewed(assignment),
      hasNews: false,
      over: Promise.resolve(),
    }
    this.#actors.set(ref, actor)
    actor.over = this.#run(ref, actor, resume)
    this.ctx.waitUntil(actor.over)
  }

  #renewed(assignment: Assignment): Assignment {
    const { credential } = assignment
    if (!credential) return assignment
    const now = this.#secrets.get(credential.identity)
    if (!now || now.secret < (credential.secret ?? 0) || now.sealed.ciphertext === credential.sealed.ciphertext)
      return assignment
    return { ...assignment, credential: now }
  }

  #toCancel() {
    return { vault: this.#vault, allowPrivate: this.env.ALLOW_PRIVATE_UPSTREAMS === 'true', now: () => Date.now() }
  }

  async #run(ref: string, actor: Actor, resume: string | null): Promise<void> {
    const { assignment } = actor
    const step = await runAttempt(assignment, resume, {
      ...this.#toCancel(),
      instance: this.#instance,
      artifacts: this.env.ARTIFACTS,
      ai: this.env.AI,
      signal: actor.abort.signal,
      progress: (progress, message, rate) =>
        this.#tell(actor, {
          kind: 'progress',
          job: assignment.job,
          attempt: assignment.attempt,
          progress,
          message,
          ...(rate ? { rate } : {}),
        }),
      keep: (text) => this.#keep(actor, text, Date.now()),
      keepSoon: (text) => this.#keepSoon(ref, actor, text),
      checking: this.#checking,
    })
    this.#actors.delete(ref)
    // Whoever stopped it knows how it ended.
    if (!actor.abort.signal.aborted) this.#after(actor, step)
  }

  #after(actor: Actor, step: Step): void {
    const { assignment } = actor
    if (step.kind === 'ended') {
      this.#tell(actor, { kind: 'end', job: assignment.job, attempt: assignment.attempt, end: step.end })
      return
    }
    const dueAtMs = actor.hasNews ? Date.now() : step.dueAtMs
    this.#keep(actor, step.resume, dueAtMs)
    this.#see(Date.now())
    this.#parked.set(refText(assignment), dueAtMs)
    this.#setAlarm()
  }

  /** What an actor at work has reached needs no alarm: should it vanish, the Instance asks for it after a lease. */
  #keep(actor: Actor, resume: string, dueAtMs: number): void {
    if (actor.abort.signal.aborted) return
    for (const ref of this.#forgettable.splice(0)) this.#forgetNow(ref)
    this.#store.keep(actor.assignment, resume, dueAtMs)
    this.#kept.add(refText(actor.assignment))
  }

  /** A commit of its own for what is over in a moment would cost more than the rest of a quick attempt. */
  #keepSoon(ref: string, actor: Actor, resume: string): void {
    if (this.#unkept.size === 0) setTimeout(() => this.#keepUnkept(), LIMITS.keepDelayMs)
    this.#unkept.set(ref, { actor, resume })
  }

  #keepUnkept(): void {
    for (const [ref, { actor, resume }] of this.#unkept) {
      if (this.#actors.get(ref) === actor || this.#outbox.holds(actor.assignment)) this.#keep(actor, resume, Date.now())
    }
    this.#unkept.clear()
  }

  #forgetNow(ref: AttemptRef): void {
    if (this.#kept.delete(refText(ref))) this.#store.forget(ref)
  }

  #tell(actor: Actor, report: Report): void {
    if (!actor.abort.signal.aborted) this.ctx.waitUntil(this.#outbox.post(report))
  }

  #openOutbox(): Outbox {
    return new Outbox(
      this.#number,
      () => this.env.INSTANCE.getByName(this.#instance),
      this.#bornAtMs,
      (sent, reply) => this.#onReply(sent, reply),
    )
  }

  #onReply(sent: Report[], reply: ReportReply): void {
    for (const report of sent) if (report.kind === 'end') this.#forget(report)
    this.#stop(reply.stop)
    for (const assignment of reply.assign) this.#begin(assignment, assignment.resume)
  }

  /**
   * A good end is forgotten with the next write, which saves a commit: were it taken up again after a crash, it would meet
   * its own objects, and its report would be late. A failed one could still buy storage for nobody, and goes at once.
   */
  #forget(report: Extract<Report, { kind: 'end' }>): void {
    if (report.end.output !== null && this.#forgettable.length < LIMITS.actorsPerLane) this.#forgettable.push(report)
    else this.#forgetNow(report)
  }

  /** Where the clock was set back, what is parked keeps what was left of its wait. */
  #see(now: number): void {
    const backMs = setBackMs(this.#latestMs, now)
    if (backMs > 0) for (const [ref, dueAtMs] of this.#parked) this.#parked.set(ref, dueAtMs - backMs)
    this.#latestMs = backMs > 0 ? now : Math.max(this.#latestMs, now)
  }

  /** Rings for the next poll. */
  #setAlarm(): void {
    let next: number | null = null
    for (const dueAtMs of this.#parked.values()) next = earliest(next, dueAtMs)
    this.#alarm.wake(next, Date.now())
  }
}

const readRef = (text: string): AttemptRef => {
  const [job = '', attempt = '0'] = text.split('/')
  return { job, attempt: Number(attempt) }
}
