import { endsJob } from '../contract/event.ts'
import type { LineEvent } from '../contract/log.ts'
import type { Assignment, AttemptRef, Report, ReportReply } from '../contract/rpc.ts'
import { earliest } from '../core/alarm.ts'
import { AlarmClock } from '../core/alarm-clock.ts'
import { backoffMs } from '../core/outcome.ts'
import type { Env } from '../env.ts'
import { LIMITS } from '../limits.ts'
import { deleteArtifacts } from '../storage/artifacts.ts'
import { systemAmbient } from './ambient.ts'
import { GroupCommit } from './group-commit.ts'
import { logTransition } from './log.ts'
import { type Identity, isProvisioned, openParts, type Parts, reloadParts, saveIdentity } from './parts.ts'
import type { Effects } from './transitions.ts'
import { createVault, type Vault } from './vault.ts'

/**
 * What moves an instance: its transactions with a turn of the scheduler in each, what follows a commit, the talk with the
 * lanes, the alarm, and the end of it all. Who may ask for what is none of its business.
 */
export class Engine {
  readonly vault: Vault
  readonly #state: DurableObjectState
  readonly #env: Env
  readonly #commit: GroupCommit
  #parts: Parts | null = null
  /** Work for lanes whose report is being answered: it travels with the answer. */
  readonly #replies = new Map<number, ReportReply['assign']>()
  /** Work on its way to lanes. */
  readonly #handingOut = new Set<Promise<void>>()
  #erasing: Promise<void> | null = null
  #trimming: Promise<void> | null = null
  readonly #alarm: AlarmClock
  /** Turns by alarm that failed in a row. */
  #turnFaults = 0

  constructor(state: DurableObjectState, env: Env) {
    this.#state = state
    this.#env = env
    this.vault = createVault(env.MASTER_KEY)
    this.#commit = new GroupCommit(
      (operations) => this.#transact(operations),
      () => state.storage.sync(),
      systemAmbient.now,
    )
    this.#alarm = new AlarmClock((atMs) => void state.storage.setAlarm(atMs))
    if (!isProvisioned(state.storage.sql)) return
    const parts = this.#open()
    void state.blockConcurrencyWhile(async () => {
      parts.books.keyIds = await this.vault.keyIds()
      const atMs = await state.storage.getAlarm()
      this.#alarm.found(atMs)
      // Attempts of an earlier process are asked after at once, not when its alarm would have rung.
      if (parts.books.lanes.some((load) => load > 0) || parts.sealing.isDue) this.wake(systemAmbient.now())
      // What was old before this version knew how to trim, or when a step was cut off.
      else if (atMs === null) this.wake(parts.retention.nextAtMs())
    })
  }

  /** Null where there is no instance; one that is being deleted is still there. */
  get parts(): Parts | null {
    return this.#parts
  }

  /** The same without one that is being deleted. */
  get live(): Parts | null {
    return this.#parts?.identity.deleting ? null : this.#parts
  }

  /** Whether these are the parts of the instance still, after something was waited for. */
  isLive(parts: Parts): boolean {
    return this.live === parts
  }

  /** Null where there is one already. */
  async found(identity: Identity): Promise<Parts | null> {
    const keyIds = await this.vault.keyIds()
    if (this.#parts) return null
    const parts = this.#open(identity)
    parts.books.keyIds = keyIds
    parts.sealing.found()
    return parts
  }

  /** In one transaction with whatever arrives at the same moment. Resolves when it was applied. */
  apply<T>(operation: () => T): Promise<T> {
    return this.#commit.apply(operation)
  }

  /** The same for what nobody waits for: with whatever comes next. */
  applyWithNext<T>(operation: () => T): Promise<T> {
    return this.#commit.apply(operation, { isPatient: true })
  }

  /** Applies what waits for the next, before it is asked after. */
  catchUp(): void {
    this.#commit.hurry()
  }

  /** Lets go of what would hold up the answer. */
  background(work: Promise<unknown>): void {
    this.#state.waitUntil(work)
  }

  /** A turn is taken at this time, or before it. */
  wake(at: number | null): void {
    this.#alarm.wake(at, systemAmbient.now())
  }

  /** One alarm for everything that is due. It never throws: the platform gives up on an alarm that does. */
  async alarm(): Promise<void> {
    const parts = this.#parts
    this.#alarm.rang()
    if (!parts) return
    try {
      if (parts.identity.deleting) return await this.#erase(parts)
      this.#transact([])
      this.#turnFaults = 0
      this.#trim(parts)
      await this.#askSilentLanes(parts)
      await this.#seal(parts)
    } catch (error) {
      // Soon at first: what is due, and whoever waits for it, does not wait for a fault that passes.
      this.#turnFaults += 1
      this.wake(systemAmbient.now() + backoffMs(this.#turnFaults, systemAmbient.random()))
      this.#logFault(parts, 'instance.turn_failed', error)
      // A turn that fails keeps nobody from finding out what became of the attempts.
      this.background(this.#askSilentLanes(parts))
    }
  }

  /** Takes what a lane has to tell. Repeated reports change nothing. */
  async report(parts: Parts, lane: number, reports: Report[], bornAtMs: number): Promise<ReportReply> {
    parts.lanes.reported(lane, systemAmbient.now(), bornAtMs)
    const stop = reports.flatMap((report) => (report.kind === 'progress' ? this.#onProgress(parts, report) : []))
    const ends = reports.flatMap((report) => (report.kind === 'end' ? [report] : []))
    const assign: ReportReply['assign'] = []
    if (ends.length > 0) {
      this.#replies.set(lane, assign)
      // Each for itself: an end that cannot be written keeps no other from it.
      const written = ends.map((report) => this.apply(() => parts.scheduler.attempts.end(report, report.end)))
      const failed = (await Promise.allSettled(written)).find((result) => result.status === 'rejected')
      this.#replies.delete(lane)
      if (failed) this.#refuseReport(parts, lane, assign, failed.reason)
    }
    return { assign: this.isLive(parts) ? assign : [], stop }
  }

  /** Whatever still holds an older secret learns of the new one at once, and by alarm where that does not succeed. */
  secretReplaced(parts: Parts): void {
    parts.sealing.replaced()
    const told = this.#seal(parts).catch((error) => {
      this.#logFault(parts, 'instance.sealing_failed', error)
      this.wake(systemAmbient.now() + LIMITS.renewRetryMs)
    })
    this.background(told)
  }

  /** Ends every job and subscription and deletes all data. Goes on by alarm where that takes long; may be repeated. */
  async destroy(parts: Parts): Promise<void> {
    // Behind what was asked for before: nobody is left waiting for a transaction that has nothing to write to.
    if (!parts.identity.deleting) {
      await this.apply(() => {
        parts.identity.deleting = true
        saveIdentity(parts.admin, parts.identity)
      })
    }
    parts.broadcast.closeAll('instance deleted')
    parts.waiters.releaseAll()
    parts.foreground.releaseAll()
    await this.#erase(parts)
  }

  // ------------------------------------------------------------------------------------------------- private

  #open(founding?: Identity): Parts {
    const world = {
      state: this.#state,
      env: this.#env,
      vault: this.vault,
      apply: <T>(operation: () => T) => this.apply(operation),
    }
    this.#parts = openParts(world, founding?.created_at_ms ?? systemAmbient.now(), founding)
    return this.#parts
  }

  /** One transaction: the operations, then a turn of the scheduler. All of it or, on a throw, nothing. */
  #transact(operations: (() => void)[]): void {
    const parts = this.#parts
    if (!parts) throw new Error('an instance that does not exist has nothing to write')
    let wakeAt: number | null = null
    try {
      this.#state.storage.transactionSync(() => {
        parts.jobs.begin()
        for (const operation of operations) operation()
        for (const job of parts.foreground.silent(systemAmbient.now())) parts.scheduler.attempts.loseOnLine(job)
        if (!parts.identity.deleting) wakeAt = earliest(parts.replays.turn(), parts.scheduler.turn())
        parts.jobs.flush()
        parts.admin.flush()
        parts.events.flush()
      })
    } catch (error) {
      parts.scheduler.takeEffects()
      // A row may be to blame: the next turn looks closer, and sets it aside.
      parts.jobs.careful = true
      reloadParts(parts)
      throw error
    }
    // What is done stays done: a fault from here on must not look like a transaction that was rolled back.
    try {
      this.#afterCommit(parts, parts.scheduler.takeEffects(), wakeAt)
    } catch (error) {
      this.#logFault(parts, 'instance.after_commit_failed', error)
      this.wake(systemAmbient.now() + LIMITS.backoffBaseMs)
    }
  }

  /** Tells and hands out what was committed. The output gate holds all of it until the commit is on disk. */
  #afterCommit(parts: Parts, effects: Effects, wakeAt: number | null): void {
    const now = systemAmbient.now()
    if (effects.events.length > 0) parts.retention.stir()
    parts.broadcast.publish(effects.events, now)
    for (const { event, requestId } of effects.events) {
      logTransition(parts.identity.id, event, requestId)
      if (event.type !== 'job.started' && event.job) parts.progress.delete(event.job)
      if (event.job) parts.waiters.told(event)
      if (event.job && endsJob(event.type)) parts.foreground.over(event.job)
    }
    for (const job of effects.left) parts.foreground.left(job)
    for (const opening of effects.open) parts.foreground.opened(opening, now)
    for (const [lane, assignments] of effects.assign) {
      // Submitted before its deletion was written, and of an instance that is gone when the provider answers.
      if (parts.identity.deleting) break
      const reply = this.#replies.get(lane)
      if (reply) reply.push(...assignments)
      else this.#handOut(parts, lane, assignments, now)
    }
    for (const [lane, refs] of effects.stop) this.background(parts.lanes.stop(lane, refs))
    const leases = earliest(parts.lanes.nextExpiry(parts.books.lanes, now), parts.foreground.nextExpiry())
    this.wake(earliest(wakeAt, leases, parts.retention.nextAtMs()))
    if (parts.lanes.silent(parts.books.lanes, now).length > 0) this.background(this.#askSilentLanes(parts))
  }

  /** Lanes that were silent for a lease are asked; what they do not know is lost, and judged as such. Never throws. */
  async #askSilentLanes(parts: Parts): Promise<void> {
    const silent = parts.lanes.silent(parts.books.lanes, systemAmbient.now())
    if (silent.length === 0 || parts.identity.deleting) return
    const running = parts.jobs.running()
    const asked = silent.map(async (lane) => {
      const inLane = running
        .filter((row) => row.lane === lane)
        .map((row) => ({ job: row.id, attempt: row.attempt, startedAtMs: row.started_at_ms }))
      const failed = await parts.lanes.ask(lane, inLane, systemAmbient.now, async (lost, laneBornAtMs) => {
        // Each for itself: one that cannot be judged keeps no other from it.
        await Promise.all(lost.map((ref) => this.apply(() => parts.scheduler.attempts.lose(ref, laneBornAtMs))))
      })
      if (!this.isLive(parts)) return
      if (failed) this.#logFault(parts, 'instance.lane_not_asked', failed.error)
      this.wake(parts.lanes.nextExpiry(parts.books.lanes, systemAmbient.now()))
    })
    await Promise.all(asked)
  }

  async #seal(parts: Parts): Promise<void> {
    if (!parts.sealing.isDue || parts.identity.deleting) return
    const waitMs = await parts.sealing.step(this.vault, (operation) => this.apply(operation))
    if (waitMs !== null) this.wake(systemAmbient.now() + waitMs)
  }

  /** Takes what steps of trimming are due, beside the turn: it may have to wait for the bucket. */
  #trim(parts: Parts): void {
    if (parts.retention.isBusy) return
    this.#trimming = parts.retention
      .run()
      .catch((error) => this.#logFault(parts, 'instance.trimming_failed', error))
      .then(() => {
        if (this.isLive(parts)) this.wake(parts.retention.nextAtMs())
      })
  }

  /** The lane will repeat its ends. Work that was to travel with the answer goes by itself. */
  #refuseReport(parts: Parts, lane: number, assign: ReportReply['assign'], error: unknown): never {
    this.#logFault(parts, 'instance.end_failed', error)
    if (assign.length > 0 && this.isLive(parts)) this.#handOut(parts, lane, assign, systemAmbient.now())
    throw error
  }

  #handOut(parts: Parts, lane: number, assignments: Assignment[], now: number): void {
    const handed = parts.lanes.assign(lane, assignments, now).finally(() => this.#handingOut.delete(handed))
    this.#handingOut.add(handed)
    this.background(handed)
  }

  #onProgress(parts: Parts, report: Extract<Report, { kind: 'progress' }>): AttemptRef[] {
    const { job, attempt, progress, message, rate } = report
    const row = parts.jobs.findRunning(job)
    if (row?.attempt !== attempt) return [{ job, attempt }]
    parts.progress.set(job, progress)
    const rates = { requests: rate ?? null, tokens: null }
    const { attempts } = parts.scheduler
    if (rate && attempts.isNews(row, rates)) this.background(this.apply(() => attempts.heed(job, rates)))
    parts.broadcast.progress({ ...row, id: job }, systemAmbient.now(), { progress, message })
    return []
  }

  #logFault(parts: Parts, event: LineEvent, error: unknown): void {
    const { name, stack } = error instanceof Error ? error : { name: typeof error, stack: '' }
    // Not the message: it could repeat what a client sent.
    const where = (stack ?? '').split('\n').slice(1, 4).join(' ').slice(0, 500)
    console.error(JSON.stringify({ level: 'error', event, instance: parts.identity.id, name, where }))
    parts.log.fault(event, name)
  }

  /** Stops the lanes, empties the bucket in bounded steps, then forgets everything. */
  async #erase(parts: Parts): Promise<void> {
    // Asked twice, the second waits for the first: nothing may be wiped that was made anew behind it.
    this.#erasing ??= this.#eraseAll(parts).finally(() => {
      this.#erasing = null
    })
    await this.#erasing
  }

  async #eraseAll(parts: Parts): Promise<void> {
    const { storage } = this.#state
    // Whatever interrupts this, the alarm goes on with it.
    void storage.setAlarm(systemAmbient.now() + LIMITS.backoffMaxMs)
    // It may be writing to the bucket.
    await this.#trimming
    await this.#handedOut()
    for (let lane = 0; lane < parts.books.lanesOpened; lane += 1) {
      await this.#env.LANE.getByName(`${parts.identity.id}/${lane}`).destroy()
    }
    let more = true
    while (more) more = (await deleteArtifacts(this.#env.ARTIFACTS, parts.identity.id)).more
    await storage.deleteAlarm()
    await storage.deleteAll()
    // Only now may the instance be founded anew: what is new must not be wiped.
    this.#parts = null
    this.#alarm.rang()
  }

  /** What is on its way to a lane would begin behind the lane's end. A lane that hangs must not keep an instance from going. */
  async #handedOut(): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, LIMITS.leaseMs)
    await Promise.race([Promise.all(this.#handingOut), late])
    clearTimeout(timer)
  }
}
