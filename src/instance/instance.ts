import { DurableObject } from 'cloudflare:workers'
import { ok, type Result, refuse } from '../contract/fault.ts'
import type {
  ApiKey,
  Credential,
  InstanceConfig,
  Instance as InstanceView,
  KeyRequest,
  ProviderRequest,
  ProviderView,
  Scope,
  Ticket,
} from '../contract/instance.ts'
import { isFinal, type JobRecord, type JobRequest } from '../contract/job.ts'
import {
  type AttemptRef,
  type Caller,
  fromWire,
  type Report,
  type ReportReply,
  toWire,
  type Wire,
} from '../contract/rpc.ts'
import { earliest } from '../core/alarm.ts'
import type { Env } from '../env.ts'
import { LIMITS } from '../limits.ts'
import { deleteArtifacts } from '../storage/artifacts.ts'
import { notHere, type Principal } from './access.ts'
import { systemAmbient } from './ambient.ts'
import type { Subscription } from './broadcast.ts'
import { GroupCommit } from './group-commit.ts'
import type { JobFilter, JobRow } from './job-store.ts'
import { logTransition } from './log.ts'
import { isProvisioned, openParts, type Parts, saveIdentity } from './parts.ts'
import type { Effects } from './transitions.ts'
import { planJob } from './submission.ts'
import { createVault, type Vault } from './vault.ts'
import { isoTime, jobRecord, keyView } from './views.ts'

/** What a submit carries beside the job. `fingerprint` is a digest of the request in canonical form. */
export type SubmitOptions = { idempotencyKey: string | null; fingerprint: string; waitMs: number }
export type Submitted = { job: Wire<JobRecord>; replayed: boolean }
/** Where an event subscription comes from: a caller, or the digest of a ticket. */
export type OpenEvents = {
  job: string | null
  after: number | null
  caller: Caller | null
  ticketDigest: string | null
  upgrade: boolean
}

/** The header in which the Worker hands `OpenEvents` to `fetch`, the one call that is not RPC: a socket needs it. */
export const OPEN_EVENTS = 'x-switchyard-open-events'

/**
 * The Instance: the only writer of an instance's truth. Each call is authenticated here, decided by the pure core and
 * written in one transaction, together with whatever arrived at the same moment.
 */
export class Instance extends DurableObject<Env> {
  #parts: Parts | null = null
  readonly #vault: Vault
  readonly #commit = new GroupCommit((operations) => this.#transact(operations))
  /** Work for lanes whose report is being answered: it travels with the answer. */
  readonly #replies = new Map<number, ReportReply['assign']>()
  readonly #progress = new Map<string, number>()
  /** When the alarm is set to ring; null where that is not known. */
  #alarmAt: number | null = null

  constructor(state: DurableObjectState, env: Env) {
    super(state, env)
    this.#vault = createVault(env.MASTER_KEY)
    if (isProvisioned(state.storage.sql)) this.#parts = openParts(state, env, systemAmbient.now())
  }

  // ------------------------------------------------------------------------------------- the instance itself

  async provision(
    id: string,
    organization: string | null,
    config: InstanceConfig,
  ): Promise<Result<Wire<InstanceView>>> {
    if (this.#parts) return refuse('conflict', 'An instance of this id exists.', { param: 'id' })
    const founding = { id, organization, config, created_at_ms: systemAmbient.now(), deleting: false }
    this.#parts = openParts(this.ctx, this.env, founding.created_at_ms, founding)
    return ok(toWire(this.#view(this.#parts)))
  }

  async describe(caller: Caller): Promise<Result<Wire<InstanceView>>> {
    return this.#as(caller, 'read', (parts) => ok(toWire(this.#view(parts))))
  }

  async configure(caller: Caller, config: InstanceConfig): Promise<Result<Wire<InstanceView>>> {
    return this.#as(caller, 'admin', (parts) => {
      parts.identity.config = { ...parts.identity.config, ...config }
      saveIdentity(parts.admin, parts.identity)
      parts.books.weights = parts.identity.config.project_weights ?? {}
      return ok(toWire(this.#view(parts)))
    })
  }

  /** Ends every job and subscription and deletes all data. Goes on by alarm where that takes long; may be repeated. */
  async destroy(): Promise<Result<null>> {
    const parts = this.#parts
    if (!parts) return notHere()
    parts.identity.deleting = true
    saveIdentity(parts.admin, parts.identity)
    parts.broadcast.closeAll('instance deleted')
    await this.#erase(parts)
    return ok(null)
  }

  // ---------------------------------------------------------------------------------------------------- jobs

  async submit(caller: Caller, wire: Wire<JobRequest>, options: SubmitOptions): Promise<Result<Submitted>> {
    const parts = this.#parts
    if (!parts) return notHere()
    const access = parts.access.check(caller, 'jobs', systemAmbient.now())
    if (!access.ok) return access
    const request = fromWire(wire)
    const submitted = await this.#commit.apply(() =>
      this.#submitNow(parts, access.value, caller.requestId, request, options),
    )
    if (!submitted.ok) return submitted
    await this.#wait(parts, submitted.value.id, options.waitMs)
    return ok({ job: this.#record(parts, submitted.value.id), replayed: submitted.value.replayed })
  }

  async job(caller: Caller, id: string, waitMs: number): Promise<Result<Wire<JobRecord>>> {
    return this.#as(caller, 'read', async (parts, principal) => {
      if (!visible(parts.jobs.find(id), principal)) return noJob()
      await this.#wait(parts, id, waitMs)
      return ok(this.#record(parts, id))
    })
  }

  async jobs(caller: Caller, filter: JobFilter): Promise<Result<Wire<{ data: JobRecord[]; next: string | null }>>> {
    return this.#as(caller, 'read', (parts, principal) => {
      const { project } = principal
      if (project !== null && filter.project !== undefined && filter.project !== project)
        return ok(toWire({ data: [], next: null }))
      const page = parts.jobs.list(project === null ? filter : { ...filter, project })
      const now = systemAmbient.now()
      const data = page.rows.map((row) =>
        jobRecord(row, parts.jobs.attempts(row.id), this.#context(parts, row, now, null)),
      )
      return ok(toWire({ data, next: page.next }))
    })
  }

  async cancel(caller: Caller, id: string): Promise<Result<Wire<JobRecord>>> {
    return this.#as(caller, 'jobs', async (parts, principal) => {
      const verdict = await this.#commit.apply((): Result<null> => {
        const row = parts.jobs.find(id)
        if (!row || !visible(row, principal)) return noJob()
        if (row.status === 'canceled' || parts.scheduler.cancel(row)) return ok(null)
        return refuse('conflict', `The job has already ${row.status}.`)
      })
      return verdict.ok ? ok(this.#record(parts, id)) : verdict
    })
  }

  /** Whether the caller may read an artifact of this job. */
  async mayReadArtifact(caller: Caller, job: string): Promise<Result<null>> {
    return this.#as(caller, 'read', (parts, principal) =>
      visible(parts.jobs.find(job), principal) ? ok(null) : noJob(),
    )
  }

  /** What a lane has to tell. Repeated reports change nothing. */
  async report(lane: number, wire: Wire<Report[]>): Promise<Wire<ReportReply>> {
    const parts = this.#parts
    const reports = fromWire(wire)
    if (!parts || parts.identity.deleting)
      return toWire({ assign: [], stop: reports.map(({ job, attempt }) => ({ job, attempt })) })
    parts.lanes.heard(lane, systemAmbient.now())
    const stop = reports.flatMap((report) => (report.kind === 'progress' ? this.#onProgress(parts, report) : []))
    const ends = reports.flatMap((report) => (report.kind === 'end' ? [report] : []))
    const assign: ReportReply['assign'] = []
    if (ends.length > 0) {
      this.#replies.set(lane, assign)
      await this.#commit
        .apply(() => ends.forEach((report) => void parts.scheduler.end(report, report.end)))
        .finally(() => this.#replies.delete(lane))
    }
    return toWire({ assign, stop })
  }

  // ---------------------------------------------------------------------------------------------------- keys

  async createKey(caller: Caller, request: KeyRequest, id: string, digest: string): Promise<Result<ApiKey>> {
    return this.#administer(caller, (parts, now) => parts.administration.createKey(request, id, digest, now))
  }

  async keys(caller: Caller): Promise<Result<ApiKey[]>> {
    return this.#as(caller, 'admin', (parts) => ok(parts.access.list().map(keyView)))
  }

  async revokeKey(caller: Caller, id: string): Promise<Result<null>> {
    const revoked = await this.#administer(caller, (parts) => parts.administration.deleteKey(id))
    if (revoked.ok) this.#parts?.broadcast.closeKey(id)
    return revoked
  }

  /** A ticket stands for its caller once, within a minute. Its digest comes from the edge. */
  async createTicket(caller: Caller, digest: string): Promise<Result<Omit<Ticket, 'ticket'>>> {
    return this.#as(caller, 'read', (parts, principal) => {
      const now = systemAmbient.now()
      if (parts.admin.countTickets(now) >= LIMITS.ticketsOpen) {
        return refuse('rate_limited', 'Too many tickets are open.', { retryAfterMs: LIMITS.ticketMs })
      }
      parts.admin.insertTicket(digest, principal.keyId, now + LIMITS.ticketMs, now)
      return ok({ expires_at: isoTime(now + LIMITS.ticketMs) })
    })
  }

  // ----------------------------------------------------------------------------------------------- providers

  async providers(caller: Caller): Promise<Result<ProviderView[]>> {
    return this.#as(caller, 'read', (parts, _principal, now) => {
      const views = [...parts.books.setups.keys()].map((id) => parts.administration.provider(id, now))
      return ok(views.flatMap((view) => (view.ok ? [view.value] : [])))
    })
  }

  async provider(caller: Caller, id: string): Promise<Result<ProviderView>> {
    return this.#as(caller, 'read', (parts, _principal, now) => parts.administration.provider(id, now))
  }

  async configureProvider(caller: Caller, id: string, request: ProviderRequest): Promise<Result<ProviderView>> {
    const allowPrivate = this.env.ALLOW_PRIVATE_UPSTREAMS === 'true'
    return this.#administer(caller, (parts, now) =>
      parts.administration.configureProvider(id, request, allowPrivate, now),
    )
  }

  async credentials(caller: Caller, provider: string): Promise<Result<Credential[]>> {
    return this.#as(caller, 'admin', (parts) => parts.administration.credentials(provider))
  }

  async saveCredential(
    caller: Caller,
    provider: string,
    name: string,
    change: { secret?: string | undefined; weight?: number | undefined; enabled?: boolean | undefined },
    mode: 'create' | 'update',
  ): Promise<Result<Credential>> {
    return this.#as(caller, 'admin', async (parts) => {
      const identity = parts.books.credentialName(provider, name)
      const secret =
        change.secret === undefined
          ? null
          : { plain: change.secret, sealed: await this.#vault.seal(change.secret, identity) }
      return this.#commit.apply(() =>
        parts.administration.saveCredential(provider, name, { ...change, secret }, mode, systemAmbient.now()),
      )
    })
  }

  async deleteCredential(caller: Caller, provider: string, name: string): Promise<Result<null>> {
    return this.#administer(caller, (parts) => parts.administration.deleteCredential(provider, name))
  }

  // ------------------------------------------------------------------------------------------- alarm, sockets

  /** One alarm for everything that is due. It never throws: the platform gives up on an alarm that does. */
  override async alarm(): Promise<void> {
    const parts = this.#parts
    this.#alarmAt = null
    if (!parts) return
    if (parts.identity.deleting) return this.#erase(parts)
    try {
      this.#transact([])
    } catch (error) {
      console.error(
        JSON.stringify({
          level: 'error',
          event: 'instance.turn_failed',
          instance: parts.identity.id,
          error: String(error),
        }),
      )
      this.#wake(systemAmbient.now() + LIMITS.backoffMaxMs)
    }
    await this.#askSilentLanes(parts)
  }

  /** Only for event subscriptions; everything else is RPC. */
  override async fetch(request: Request): Promise<Response> {
    const open = JSON.parse(request.headers.get(OPEN_EVENTS) ?? '{}') as OpenEvents
    const subscription = this.#subscription(open)
    if (!subscription.ok || !this.#parts) return Response.json(subscription, { headers: { [OPEN_EVENTS]: 'refused' } })
    const { broadcast } = this.#parts
    const { value } = subscription
    return open.upgrade
      ? broadcast.openSocket(value.subscription, value.ended)
      : broadcast.openStream(value.subscription, value.ended)
  }

  override webSocketMessage(): void {
    // Nothing is asked over the socket; `ping` is answered without waking the actor.
  }

  /** The client closed. A hibernating socket's closing handshake is ours to finish: until then the client waits. */
  override webSocketClose(socket: WebSocket, code: number): void {
    this.#parts?.broadcast.forget(socket)
    // 1005 and 1006 say that there was no code; they must not be sent (RFC 6455, 7.4.1).
    socket.close(code === 1005 || code === 1006 || code === 1015 ? 1000 : code)
  }

  override webSocketError(socket: WebSocket): void {
    this.#parts?.broadcast.forget(socket)
  }

  // ------------------------------------------------------------------------------------------------- private

  /** Runs `act` for a caller who holds the scope. Nothing is authenticated anywhere else. */
  async #as<T>(
    caller: Caller,
    scope: Scope,
    act: (parts: Parts, principal: Principal, now: number) => Result<T> | Promise<Result<T>>,
  ): Promise<Result<T>> {
    const parts = this.#parts
    if (!parts || parts.identity.deleting) return notHere()
    const now = systemAmbient.now()
    const access = parts.access.check(caller, scope, now)
    return access.ok ? act(parts, access.value, now) : access
  }

  /** A change of keys, providers or credentials: in one transaction, with the turn that it may make possible. */
  #administer<T>(caller: Caller, act: (parts: Parts, now: number) => Result<T>): Promise<Result<T>> {
    return this.#as(caller, 'admin', async (parts, _principal, now) => {
      const result = await this.#commit.apply(() => act(parts, now))
      parts.access.reload(parts.admin)
      return result
    })
  }

  #submitNow(
    parts: Parts,
    principal: Principal,
    requestId: string,
    request: JobRequest,
    options: SubmitOptions,
  ): Result<{ id: string; replayed: boolean }> {
    const now = systemAmbient.now()
    const scope = principal.project ?? ''
    const { idempotencyKey: key, fingerprint } = options
    const earlier = key === null ? null : parts.jobs.findIdempotent(scope, key, now)
    if (earlier && earlier.fingerprint !== fingerprint) {
      return refuse('idempotency_mismatch', 'This Idempotency-Key was used with another request.', {
        param: 'Idempotency-Key',
      })
    }
    if (earlier) return ok({ id: earlier.job, replayed: true })
    const project = request.project ?? principal.project
    if (principal.project !== null && project !== principal.project) {
      return refuse('permission_denied', 'This key is of another project.', { param: 'project' })
    }
    if (parts.books.waiting() >= (parts.identity.config.queue_bound ?? LIMITS.queueDefault)) {
      return refuse('queue_full', 'The queue of this instance is full.', { retryAfterMs: LIMITS.backoffMaxMs })
    }
    const origin = { id: systemAmbient.id('job'), requestId, project, now }
    const job = planJob(request, parts.identity.config, parts.books, origin)
    if (!job.ok) return job
    parts.scheduler.submit(job.value)
    if (key !== null) parts.jobs.insertIdempotent(scope, key, fingerprint, job.value.id, now)
    return ok({ id: job.value.id, replayed: false })
  }

  /** One transaction: the operations, then a turn of the scheduler. All of it or, on a throw, nothing. */
  #transact(operations: (() => void)[]): void {
    const parts = this.#parts
    if (!parts) throw new Error('an instance that does not exist has nothing to write')
    let wakeAt: number | null = null
    try {
      this.ctx.storage.transactionSync(() => {
        for (const operation of operations) operation()
        if (!parts.identity.deleting) wakeAt = parts.scheduler.turn()
      })
    } catch (error) {
      parts.scheduler.takeEffects()
      parts.books.reload(parts.jobs, parts.events, parts.admin)
      throw error
    }
    this.#afterCommit(parts, parts.scheduler.takeEffects(), wakeAt)
  }

  /** Tells and hands out what was committed. The output gate holds all of it until the commit is on disk. */
  #afterCommit(parts: Parts, effects: Effects, wakeAt: number | null): void {
    const now = systemAmbient.now()
    parts.broadcast.publish(effects.events, now)
    for (const { event, requestId } of effects.events) {
      logTransition(parts.identity.id, event, requestId)
      if (event.type !== 'job.started' && event.job) this.#progress.delete(event.job)
      if (event.job) parts.waiters.told(event)
    }
    for (const [lane, assignments] of effects.assign) {
      const reply = this.#replies.get(lane)
      if (reply) reply.push(...assignments)
      else this.ctx.waitUntil(parts.lanes.assign(lane, assignments, now))
    }
    for (const [lane, refs] of effects.stop) this.ctx.waitUntil(parts.lanes.stop(lane, refs))
    this.#wake(earliest(wakeAt, parts.lanes.nextExpiry(parts.books.lanes)))
    if (parts.lanes.silent(parts.books.lanes, now).length > 0) this.ctx.waitUntil(this.#askSilentLanes(parts))
  }

  /** Lanes that were silent for a lease are asked; what they do not know is lost, and judged as such. */
  async #askSilentLanes(parts: Parts): Promise<void> {
    const now = systemAmbient.now()
    const silent = parts.lanes.silent(parts.books.lanes, now)
    if (silent.length === 0) return
    const running = parts.jobs.running()
    const asked = silent.map(async (lane) => {
      const refs: AttemptRef[] = running
        .filter((row) => row.lane === lane)
        .map((row) => ({ job: row.id, attempt: row.attempt }))
      const unknown = await parts.lanes.unknown(lane, refs, systemAmbient.now)
      if (unknown?.length) await this.#commit.apply(() => unknown.forEach((ref) => void parts.scheduler.lose(ref)))
    })
    await Promise.all(asked)
    this.#wake(parts.lanes.nextExpiry(parts.books.lanes))
  }

  #wake(at: number | null): void {
    if (at === null || (this.#alarmAt !== null && this.#alarmAt <= at && this.#alarmAt > systemAmbient.now())) return
    this.#alarmAt = at
    void this.ctx.storage.setAlarm(at)
  }

  #onProgress(parts: Parts, report: Extract<Report, { kind: 'progress' }>): AttemptRef[] {
    const { job, attempt, progress, message } = report
    const row = parts.jobs.find(job)
    if (row?.status !== 'running' || row.attempt !== attempt) return [{ job, attempt }]
    this.#progress.set(job, progress)
    parts.broadcast.progress(job, row.project, systemAmbient.now(), { progress, message })
    return []
  }

  async #wait(parts: Parts, id: string, waitMs: number): Promise<void> {
    const row = waitMs > 0 ? parts.jobs.find(id) : null
    if (row && !isFinal(row.status)) await parts.waiters.until(id, waitMs)
  }

  #record(parts: Parts, id: string): Wire<JobRecord> {
    const row = parts.jobs.find(id)
    if (!row) throw new Error('a job that was just written is not there')
    const ahead = row.status === 'queued' && row.due_at_ms === null ? parts.jobs.ahead(row) : null
    return toWire(jobRecord(row, parts.jobs.attempts(id), this.#context(parts, row, systemAmbient.now(), ahead)))
  }

  #context(parts: Parts, row: JobRow, now: number, ahead: number | null) {
    return { instance: parts.identity.id, progress: this.#progress.get(row.id) ?? 0, ahead, books: parts.books, now }
  }

  #view(parts: Parts): InstanceView {
    const { id, organization, config, created_at_ms } = parts.identity
    return { id, object: 'instance', organization, config, created_at: isoTime(created_at_ms) }
  }

  #subscription(open: OpenEvents): Result<{ subscription: Subscription; ended: boolean }> {
    const parts = this.#parts
    if (!parts || parts.identity.deleting) return notHere()
    const now = systemAmbient.now()
    const principal = this.#subscriber(parts, open, now)
    if (!principal.ok) return principal
    const { keyId, project, expiresAtMs } = principal.value
    const row = open.job === null ? null : parts.jobs.find(open.job)
    if (open.job !== null && !visible(row, principal.value)) return noJob()
    if (parts.broadcast.full)
      return refuse('unavailable', 'Too many subscribers.', { retryAfterMs: LIMITS.backoffMaxMs })
    const head = parts.books.seq
    const cursor = Math.min(open.after ?? (open.job === null ? head : 0), head)
    return ok({
      subscription: { filter: { job: open.job, project }, keyId, expiresAtMs, cursor },
      ended: row !== null && isFinal(row.status),
    })
  }

  #subscriber(parts: Parts, open: OpenEvents, now: number): Result<Principal> {
    if (open.caller) return parts.access.check(open.caller, 'read', now)
    const ticket = open.ticketDigest === null ? null : parts.admin.takeTicket(open.ticketDigest, now)
    const principal = ticket && parts.access.principalOf(ticket.keyId, now)
    return principal ? ok(principal) : notHere()
  }

  /** Stops the lanes, empties the bucket in bounded steps, then forgets everything. */
  async #erase(parts: Parts): Promise<void> {
    // Whatever interrupts this, the alarm goes on with it.
    void this.ctx.storage.setAlarm(systemAmbient.now() + LIMITS.backoffMaxMs)
    for (let lane = 0; lane < parts.books.lanesOpened; lane += 1) {
      await this.env.LANE.getByName(`${parts.identity.id}/${lane}`).destroy()
    }
    let more = true
    while (more) more = (await deleteArtifacts(this.env.ARTIFACTS, parts.identity.id)).more
    this.#parts = null
    this.#alarmAt = null
    await this.ctx.storage.deleteAlarm()
    await this.ctx.storage.deleteAll()
  }
}

const visible = (row: JobRow | null, principal: Principal): row is JobRow =>
  row !== null && (principal.project === null || row.project === principal.project)

const noJob = () => refuse('not_found', 'There is no such job.')
