import { DurableObject } from 'cloudflare:workers'
import type { BatchRecord, BatchRequest } from '../contract/batch.ts'
import type {
  BudgetRequest,
  BudgetView,
  LedgerView,
  ProjectPatch,
  ProjectRequest,
  ProjectView,
} from '../contract/budget.ts'
import type { Sealing } from '../contract/credential.ts'
import type {
  DeadLetterRecords,
  Discarded,
  DiscardRequest,
  ReplayRecord,
  ReplayRequest,
} from '../contract/dead-letter.ts'
import { ok, type Refusal, type Result, refuse } from '../contract/fault.ts'
import type { CallEnd, CallNext, OpenCall, Opening, Settlement } from '../contract/foreground-rpc.ts'
import type {
  ApiKey,
  Credential,
  CredentialChange,
  InstanceConfig,
  Instance as InstanceView,
  KeyRequest,
  ProviderRequest,
  ProviderView,
  Scope,
  Ticket,
} from '../contract/instance.ts'
import { isFinal, type JobRecord, type JobRequest } from '../contract/job.ts'
import type { LogFilter, LogPage } from '../contract/log.ts'
import type { PriceRequest, PriceView } from '../contract/price.ts'
import type { Quota } from '../contract/quota.ts'
import {
  type Answered,
  type AttemptRef,
  type Caller,
  fromWire,
  type Report,
  type ReportReply,
  toWire,
  type Wire,
} from '../contract/rpc.ts'
import type { UsageQuery, UsageReport } from '../contract/usage-report.ts'
import type { Env } from '../env.ts'
import { LIMITS } from '../limits.ts'
import { notHere, type Principal } from './access.ts'
import { systemAmbient } from './ambient.ts'
import { type BatchRecords, batchRecord, cancelBatch, findBatch, readBatches, takeInBatch } from './batches.ts'
import { listBudgets, readBudget, removeBudget, saveBudget } from './budgets.ts'
import { type DeadLetterPageRequest, ownProject, readDeadLetters } from './dead-letter-reader.ts'
import { noDeadLetter } from './dead-letters.ts'
import { Engine } from './engine.ts'
import { type Delivery, notOurs } from './hooks.ts'
import { type SubmitOptions, takeIn } from './intake.ts'
import type { JobFilter } from './job-rows.ts'
import { closeOnLine, openOnLine, settleOnLine } from './line.ts'
import { readLog } from './log-reader.ts'
import { type Parts, saveIdentity } from './parts.ts'
import { type ModelPrice, modelPrices } from './pricing.ts'
import { changeProject, createProject, deleteProject, listProjects, readProject } from './projects.ts'
import { proveBooks } from './proof.ts'
import { answer, type JobRecords, readArchivedJob, readJob, readJobs, rereadJob, roomOf, visible } from './reader.ts'
import type { ReplayRow } from './replay-store.ts'
import { replayRecord } from './replays.ts'
import { OPEN_EVENTS, type OpenEvents, planSubscription } from './subscriptions.ts'
import { readUsage } from './usage-reader.ts'
import { isoTime, keyView } from './views.ts'

/** `id` is left out by versions that did not tell it apart. */
export type Submitted = Answered<JobRecord> & { id?: string; replayed: boolean }

/**
 * The Instance: the only writer of an instance's truth. Each call is authenticated here, decided by the pure core and
 * written in one transaction, together with whatever arrived at the same moment.
 */
export class Instance extends DurableObject<Env> {
  readonly #engine: Engine

  constructor(state: DurableObjectState, env: Env) {
    super(state, env)
    this.#engine = new Engine(state, env)
  }

  // ------------------------------------------------------------------------------------- the instance itself

  async provision(
    id: string,
    organization: string | null,
    config: InstanceConfig,
  ): Promise<Result<Wire<InstanceView>>> {
    const founding = { id, organization, config, created_at_ms: systemAmbient.now(), deleting: false }
    const parts = await this.#engine.found(founding)
    return parts ? ok(toWire(viewOf(parts))) : refuse('conflict', 'An instance of this id exists.', { param: 'id' })
  }

  async describe(caller: Caller): Promise<Result<Wire<InstanceView>>> {
    return this.#as(caller, 'read', (parts, { project }) => ok(toWire(viewOf(parts, project))))
  }

  async configure(caller: Caller, config: InstanceConfig): Promise<Result<Wire<InstanceView>>> {
    return this.#as(caller, 'admin', (parts) => {
      parts.identity.config = { ...parts.identity.config, ...config }
      saveIdentity(parts.admin, parts.identity)
      parts.books.applyConfig(parts.identity.config)
      parts.retention.begin()
      // Another calendar, or another rule for jobs over budget: what waits is looked at again.
      this.#engine.wake(systemAmbient.now())
      return parts.log.change(caller, 'instance.configured', {}, ok(toWire(viewOf(parts))), config)
    })
  }

  /** Ends every job and subscription and deletes all data. Goes on by alarm where that takes long; may be repeated. */
  async destroy(): Promise<Result<null>> {
    const { parts } = this.#engine
    if (!parts) return notHere()
    await this.#engine.destroy(parts)
    return ok(null)
  }

  // ---------------------------------------------------------------------------------------------------- jobs

  async submit(caller: Caller, wire: Wire<JobRequest>, options: SubmitOptions): Promise<Result<Submitted>> {
    return this.#as(caller, 'jobs', async (parts, principal) => {
      const request = fromWire(wire)
      const submitted = await this.#engine.apply(() => takeIn(parts, principal, caller.requestId, request, options))
      if (!submitted.ok) return withRoom(parts, submitted)
      const { id, replayed } = submitted.value
      const waited = await this.#wait(parts, caller, id, options.waitMs)
      if (!waited.ok) return waited
      const row = parts.jobs.find(id)
      if (row) return ok({ ...readJob(parts, row, systemAmbient.now(), LIMITS.queuePositionAtSubmit), id, replayed })
      const archived = await this.#archived(parts, principal, id)
      return archived.ok ? ok({ ...archived.value, id, replayed }) : noLongerKept()
    })
  }

  /** Who submits may wait for what it submitted: the edge then asks with the scope `jobs`. */
  async job(
    caller: Caller,
    id: string,
    waitMs: number,
    scope: 'read' | 'jobs' = 'read',
  ): Promise<Result<Answered<JobRecord>>> {
    return this.#as(caller, scope, async (parts, principal) => {
      const row = parts.jobs.find(id)
      if (!visible(row, principal)) return this.#archived(parts, principal, id)
      if (waitMs === 0) return ok(readJob(parts, row, systemAmbient.now()))
      const waited = await this.#wait(parts, caller, id, waitMs)
      if (!waited.ok) return waited
      const later = parts.jobs.find(id)
      return later ? ok(readJob(parts, later, systemAmbient.now())) : this.#archived(parts, principal, id)
    })
  }

  async jobs(caller: Caller, filter: JobFilter): Promise<Result<Answered<JobRecords>>> {
    return this.#as(caller, 'read', (parts, principal, now) => ok(readJobs(parts, principal, filter, now)))
  }

  async cancel(caller: Caller, id: string): Promise<Result<Answered<JobRecord>>> {
    return this.#as(caller, 'jobs', async (parts, principal) => {
      const verdict = await this.#engine.apply((): Result<null> => {
        const row = parts.jobs.find(id)
        if (!row || !visible(row, principal)) return noJob()
        if (row.status === 'canceled' || parts.scheduler.cancel(row)) return ok(null)
        return refuse('conflict', `The job has already ${row.status}.`)
      })
      return this.#changed(verdict, parts, principal, id)
    })
  }

  /** A failed job runs again. */
  async replay(caller: Caller, id: string): Promise<Result<Answered<JobRecord>>> {
    return this.#as(caller, 'jobs', async (parts, principal) => {
      const verdict = await this.#engine.apply((): Result<null> => {
        const row = parts.jobs.find(id)
        return visible(row, principal) ? parts.deadLetters.readmit(row, null) : noJob()
      })
      return this.#changed(verdict, parts, principal, id)
    })
  }

  // -------------------------------------------------------------------------------------------- dead letters

  async deadLetters(caller: Caller, page: DeadLetterPageRequest): Promise<Result<Answered<DeadLetterRecords>>> {
    return this.#as(caller, 'read', (parts, principal, now) => ok(readDeadLetters(parts, principal, page, now)))
  }

  async discard(caller: Caller, id: string): Promise<Result<null>> {
    return this.#as(caller, 'jobs', (parts, principal) =>
      this.#engine.apply((): Result<null> => {
        const row = parts.jobs.find(id)
        return visible(row, principal) ? parts.deadLetters.discard(row) : noDeadLetter()
      }),
    )
  }

  async discardAll(caller: Caller, request: DiscardRequest): Promise<Result<Discarded>> {
    return this.#as(caller, 'jobs', async (parts, principal) => {
      const own = ownProject(principal, request.project)
      if (!own.ok) return own
      const { all: _, ...filter } = request
      return ok(await this.#engine.apply(() => parts.deadLetters.discardAll(filter, principal.project)))
    })
  }

  async orderReplay(caller: Caller, request: ReplayRequest): Promise<Result<Wire<ReplayRecord>>> {
    return this.#as(caller, 'jobs', async (parts, principal) => {
      const own = ownProject(principal, request.project)
      if (!own.ok) return own
      const ordered = await this.#engine.apply(() => parts.replays.order(request, principal.project, caller.requestId))
      if (!ordered.ok) return ordered
      // As it stands behind the turn of the transaction, which may have taken the first step.
      return this.#replayView(parts, parts.replays.find(ordered.value.id, null))
    })
  }

  async replays(
    caller: Caller,
    after: string | undefined,
    limit: number,
  ): Promise<Result<Wire<{ data: ReplayRecord[]; next: string | null }>>> {
    return this.#as(caller, 'read', (parts, principal) => {
      const { rows, next } = parts.replays.list(after, principal.project, limit)
      return ok(toWire({ data: rows.map((row) => replayRecord(row, parts.identity.id)), next }))
    })
  }

  async replayOrder(caller: Caller, id: string): Promise<Result<Wire<ReplayRecord>>> {
    return this.#as(caller, 'read', (parts, principal) =>
      this.#replayView(parts, parts.replays.find(id, principal.project)),
    )
  }

  async cancelReplay(caller: Caller, id: string): Promise<Result<Wire<ReplayRecord>>> {
    return this.#as(caller, 'jobs', async (parts, principal) =>
      this.#replayView(parts, await this.#engine.apply(() => parts.replays.cancel(id, principal.project))),
    )
  }

  // ------------------------------------------------------------------------------------------------- batches

  async submitBatch(
    caller: Caller,
    wire: Wire<BatchRequest>,
    options: Omit<SubmitOptions, 'waitMs'>,
  ): Promise<Result<Answered<BatchRecord> & { replayed: boolean }>> {
    return this.#as(caller, 'jobs', async (parts, principal) => {
      const request = fromWire(wire)
      const taken = await this.#engine.apply(() => takeInBatch(parts, principal, caller.requestId, request, options))
      if (!taken.ok) return withRoom(parts, taken)
      const { id, replayed } = taken.value
      if (replayed && !parts.batches.find(id)) return noLongerKept()
      const read = this.#readBatch(parts, principal, id)
      return read.ok ? ok({ ...read.value, replayed }) : read
    })
  }

  async batch(caller: Caller, id: string): Promise<Result<Answered<BatchRecord>>> {
    return this.#as(caller, 'read', (parts, principal) => this.#readBatch(parts, principal, id))
  }

  async batches(
    caller: Caller,
    filter: { project?: string; before?: string; limit: number },
  ): Promise<Result<Answered<BatchRecords>>> {
    return this.#as(caller, 'read', (parts, principal, now) =>
      ok(answer(parts, toWire(readBatches(parts, principal, filter)), now)),
    )
  }

  async cancelBatch(caller: Caller, id: string): Promise<Result<Answered<BatchRecord>>> {
    return this.#as(caller, 'jobs', async (parts, principal) => {
      const canceled = await this.#engine.apply(() => cancelBatch(parts, principal, id))
      return canceled.ok ? this.#readBatch(parts, principal, id) : canceled
    })
  }

  /** Whether the caller may read an artifact of this job. */
  async mayReadArtifact(caller: Caller, job: string): Promise<Result<null>> {
    return this.#as(caller, 'read', async (parts, principal) => {
      if (visible(parts.jobs.find(job), principal)) return ok(null)
      const archived = await this.#archived(parts, principal, job)
      return archived.ok ? ok(null) : archived
    })
  }

  // --------------------------------------------------------------------------------------- usage and the log

  async usage(caller: Caller, query: UsageQuery): Promise<Result<Wire<UsageReport>>> {
    return this.#as(caller, 'read', (parts, principal, now) => wired(readUsage(parts, principal, query, now)))
  }

  async logs(caller: Caller, filter: LogFilter): Promise<Result<Wire<LogPage>>> {
    return this.#as(caller, 'read', (parts, principal) => wired(readLog(parts.logs, principal, filter)))
  }

  // ------------------------------------------------------------------------------------- lanes and providers

  /** What a lane has to tell. Repeated reports change nothing. */
  async report(lane: number, wire: Wire<Report[]>, bornAtMs: number): Promise<Wire<ReportReply>> {
    const { parts } = this.#engine
    const reports = fromWire(wire)
    if (!parts || parts.identity.deleting)
      return toWire({ assign: [], stop: reports.map(({ job, attempt }) => ({ job, attempt })) })
    return toWire(await this.#engine.report(parts, lane, reports, bornAtMs))
  }

  /** A provider says that an attempt has moved on. Repeats and latecomers are harmless: the provider is only asked again. */
  async hook(delivery: Delivery): Promise<Result<null>> {
    const parts = this.#engine.live
    if (!parts) return notOurs()
    // Only an attempt that waits is worth a verification, which may have to ask the provider for the signing secret.
    const { job, attempt } = delivery.attempt
    const row = parts.jobs.find(job)
    if (row?.status !== 'running' || row.attempt !== attempt || row.lane === null) return notOurs()
    const verified = await parts.hooks.verify(delivery, systemAmbient.now())
    if (verified.ok) this.#engine.background(parts.lanes.poke(row.lane, { job, attempt }))
    return verified
  }

  // ------------------------------------------------------------------------------------------ calls on the line

  /** Answers when the call's first attempt may begin; until then its caller waits in the queue like any job. */
  async openCall(caller: Caller, wire: Wire<OpenCall>): Promise<Result<{ opening: Wire<Opening>; quotas: Quota[] }>> {
    return this.#as(caller, 'jobs', async (parts, principal) => {
      const opened = await openOnLine(this.#engine, parts, principal, caller.requestId, fromWire(wire))
      if (!opened.ok) return withRoom(parts, opened)
      return ok({ opening: toWire(opened.value), quotas: roomOf(parts, systemAmbient.now()) })
    })
  }

  /** An attempt on the line has ended. Answers the next one, when its turn has come, or how the call ended. */
  async closeCall(ref: AttemptRef, wire: Wire<CallEnd>): Promise<Wire<CallNext>> {
    const parts = this.#engine.live
    if (!parts) return toWire({ next: 'end', fault: null, costMicros: null })
    return toWire(await closeOnLine(this.#engine, parts, ref, fromWire(wire)))
  }

  /** Attempts that were the last of their calls. All of them, or it throws and may be repeated. */
  async settleCalls(wire: Wire<Settlement[]>): Promise<void> {
    const parts = this.#engine.live
    if (parts) await settleOnLine(this.#engine, parts, fromWire(wire))
  }

  /** Attempts that are still driven on the line. Answers those that are over for the Instance: stop them. */
  async renewCalls(refs: AttemptRef[]): Promise<AttemptRef[]> {
    return this.#engine.parts?.foreground.renew(refs, systemAmbient.now()) ?? refs
  }

  // ---------------------------------------------------------------------------------------------------- keys

  async createKey(caller: Caller, request: KeyRequest, id: string, digest: string): Promise<Result<ApiKey>> {
    return this.#administer(caller, (parts, now) => {
      const { name, role, project = null } = request
      const made = parts.administration.createKey(request, id, digest, now)
      return parts.log.change(caller, 'key.created', { key: id, name, role, project }, made)
    })
  }

  async keys(caller: Caller): Promise<Result<ApiKey[]>> {
    return this.#as(caller, 'admin', (parts) => ok(parts.access.list().map(keyView)))
  }

  async revokeKey(caller: Caller, id: string): Promise<Result<null>> {
    const revoked = await this.#administer(caller, (parts) =>
      parts.log.change(caller, 'key.revoked', { key: id }, parts.administration.deleteKey(id)),
    )
    if (revoked.ok) this.#engine.parts?.broadcast.closeKey(id)
    return revoked
  }

  /** A ticket stands for its caller once, within a minute. Its digest comes from the edge. */
  async createTicket(caller: Caller, digest: string): Promise<Result<Omit<Ticket, 'ticket'>>> {
    return this.#as(caller, 'read', (parts, principal) => {
      const now = systemAmbient.now()
      const { ofKey, ofAll } = parts.admin.countTickets(principal.keyId, now)
      if (ofKey >= LIMITS.ticketsPerKey || ofAll >= LIMITS.ticketsOpen) {
        const whose = ofKey >= LIMITS.ticketsPerKey ? ' of this key' : ''
        return refuse('rate_limited', `Too many tickets${whose} are open.`, { retryAfterMs: LIMITS.ticketMs })
      }
      parts.admin.insertTicket(digest, principal.keyId, now + LIMITS.ticketMs, now)
      return ok({ expires_at: isoTime(now + LIMITS.ticketMs) })
    })
  }

  // ------------------------------------------------------------------------------------------ money, projects

  async budgets(caller: Caller): Promise<Result<BudgetView[]>> {
    return this.#as(caller, 'admin', (parts, _principal, now) => ok(listBudgets(parts, now)))
  }

  async budget(caller: Caller, scope: string): Promise<Result<BudgetView>> {
    return this.#as(caller, 'admin', (parts, _principal, now) => readBudget(parts, scope, now))
  }

  async setBudget(caller: Caller, scope: string, request: BudgetRequest): Promise<Result<BudgetView>> {
    return this.#administer(caller, (parts, now) => saveBudget(parts, scope, request, now))
  }

  async deleteBudget(caller: Caller, scope: string): Promise<Result<null>> {
    return this.#administer(caller, (parts) => removeBudget(parts, scope))
  }

  async ledger(caller: Caller): Promise<Result<LedgerView>> {
    return this.#as(caller, 'admin', (parts, _principal, now) => ok(proveBooks(parts, now)))
  }

  async projects(caller: Caller): Promise<Result<ProjectView[]>> {
    return this.#as(caller, 'read', (parts, principal, now) => ok(listProjects(parts, principal, now)))
  }

  async project(caller: Caller, name: string): Promise<Result<ProjectView>> {
    return this.#as(caller, 'read', (parts, principal, now) => readProject(parts, principal, name, now))
  }

  async createProject(caller: Caller, request: ProjectRequest): Promise<Result<ProjectView>> {
    return this.#administer(caller, (parts, now) => createProject(parts, request, now))
  }

  async changeProject(caller: Caller, name: string, change: ProjectPatch): Promise<Result<ProjectView>> {
    return this.#administer(caller, (parts, now) => changeProject(parts, name, change, now))
  }

  async deleteProject(caller: Caller, name: string): Promise<Result<null>> {
    return this.#administer(caller, (parts) => deleteProject(parts, name))
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
    const where = {
      allowPrivate: this.env.ALLOW_PRIVATE_UPSTREAMS === 'true',
      hasAi: this.env.AI !== undefined,
      isRoot: caller.auth.kind === 'root',
    }
    return this.#administer(caller, (parts, now) => {
      const configured = parts.administration.configureProvider(id, request, where, now)
      return parts.log.change(caller, 'provider.configured', { provider: id }, configured, request)
    })
  }

  async credentials(caller: Caller, provider: string): Promise<Result<Credential[]>> {
    return this.#as(caller, 'admin', (parts, _principal, now) => parts.administration.credentials(provider, now))
  }

  async sealing(caller: Caller): Promise<Result<Sealing>> {
    return this.#as(caller, 'admin', (parts) => ok(parts.sealing.view()))
  }

  async saveCredential(
    caller: Caller,
    provider: string,
    name: string,
    change: CredentialChange,
    mode: 'create' | 'update',
  ): Promise<Result<Credential>> {
    return this.#as(caller, 'admin', async (parts) => {
      const identity = parts.books.credentialName(provider, name)
      const secret =
        change.secret === undefined
          ? null
          : { plain: change.secret, sealed: await this.#engine.vault.seal(change.secret, identity) }
      if (!this.#engine.isLive(parts)) return notHere()
      const origin = { now: systemAmbient.now(), requestId: caller.requestId }
      const event = mode === 'create' ? 'credential.created' : 'credential.changed'
      const saved = await this.#engine.apply(() => {
        const result = parts.administration.saveCredential(provider, name, { ...change, secret }, mode, origin)
        return parts.log.change(caller, event, { provider, credential: name }, result, change)
      })
      if (saved.ok && secret) this.#engine.secretReplaced(parts)
      return saved
    })
  }

  async deleteCredential(caller: Caller, provider: string, name: string): Promise<Result<null>> {
    return this.#administer(caller, (parts, now) => {
      const deleted = parts.administration.deleteCredential(provider, name, now)
      return parts.log.change(caller, 'credential.deleted', { provider, credential: name }, deleted)
    })
  }

  // -------------------------------------------------------------------------------------------------- prices

  async prices(caller: Caller, provider: string | null): Promise<Result<Wire<PriceView[]>>> {
    return this.#as(caller, 'read', (parts, _principal, now) => wired(parts.pricing.list(provider, now)))
  }

  async price(caller: Caller, provider: string, model: string): Promise<Result<Wire<PriceView>>> {
    return this.#as(caller, 'read', (parts, _principal, now) => wired(parts.pricing.read(provider, model, now)))
  }

  /** Jobs that are already taken in keep the price they were judged by. */
  async savePrice(
    caller: Caller,
    provider: string,
    model: string,
    request: PriceRequest,
  ): Promise<Result<Wire<PriceView>>> {
    return this.#administer(caller, (parts, now) => wired(parts.pricing.save(provider, model, request, now)))
  }

  async deletePrice(caller: Caller, provider: string, model: string): Promise<Result<null>> {
    return this.#administer(caller, (parts) => parts.pricing.delete(provider, model))
  }

  async modelPrices(caller: Caller): Promise<Result<Wire<ModelPrice[]>>> {
    return this.#as(caller, 'read', (parts, _principal, now) => ok(toWire(modelPrices(parts.books, now))))
  }

  // ------------------------------------------------------------------------------------------- alarm, sockets

  override alarm(): Promise<void> {
    return this.#engine.alarm()
  }

  /** Only for event subscriptions; everything else is RPC. */
  override async fetch(request: Request): Promise<Response> {
    const open = JSON.parse(request.headers.get(OPEN_EVENTS) ?? '{}') as OpenEvents
    const parts = this.#engine.live
    const subscription = parts ? planSubscription(parts, open, systemAmbient.now()) : notHere()
    if (!subscription.ok || !parts) return Response.json(subscription, { headers: { [OPEN_EVENTS]: 'refused' } })
    const { broadcast } = parts
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
    this.#engine.parts?.broadcast.forget(socket)
    // 1005 and 1006 say that there was no code; they must not be sent (RFC 6455, 7.4.1).
    socket.close(code === 1005 || code === 1006 || code === 1015 ? 1000 : code)
  }

  override webSocketError(socket: WebSocket): void {
    this.#engine.parts?.broadcast.forget(socket)
  }

  // ------------------------------------------------------------------------------------------------- private

  /** Runs `act` for a caller who holds the scope. Only a subscription, which is no RPC, is authenticated elsewhere. */
  async #as<T>(
    caller: Caller,
    scope: Scope,
    act: (parts: Parts, principal: Principal, now: number) => Result<T> | Promise<Result<T>>,
  ): Promise<Result<T>> {
    const parts = this.#engine.live
    if (!parts) return notHere()
    const now = systemAmbient.now()
    const access = parts.access.check(caller, scope, now)
    if (!access.ok) return access
    if (scope !== 'jobs') this.#engine.catchUp()
    return act(parts, access.value, now)
  }

  /** A change of keys, providers or credentials: in one transaction, with the turn that it may make possible. */
  #administer<T>(caller: Caller, act: (parts: Parts, now: number) => Result<T>): Promise<Result<T>> {
    return this.#as(caller, 'admin', async (parts, _principal, now) => {
      const result = await this.#engine.apply(() => act(parts, now))
      parts.access.reload(parts.admin)
      return result
    })
  }

  /** Holds until the job ends or the time is over; then the caller must still have a right here. */
  async #wait(parts: Parts, caller: Caller, id: string, waitMs: number): Promise<Result<null>> {
    const row = waitMs > 0 ? parts.jobs.find(id) : null
    if (!row || isFinal(row.status)) return ok(null)
    await parts.waiters.until(id, waitMs)
    if (!this.#engine.isLive(parts)) return notHere()
    const access = parts.access.check(caller, 'read', systemAmbient.now())
    // Who may only submit was told of its own job before, and is now.
    return access.ok || access.fault.code === 'permission_denied' ? ok(null) : access
  }

  /** A job that is only in the archive any more. */
  async #archived(parts: Parts, principal: Principal, id: string): Promise<Result<Answered<JobRecord>>> {
    const record = await readArchivedJob(parts, principal, id)
    if (!this.#engine.isLive(parts)) return notHere()
    return record ? ok(answer(parts, toWire(record), systemAmbient.now())) : noJob()
  }

  /** The job behind a change, or why it was refused. What is asked of an archived one is refused as what it is. */
  async #changed(
    verdict: Result<null>,
    parts: Parts,
    principal: Principal,
    id: string,
  ): Promise<Result<Answered<JobRecord>>> {
    if (verdict.ok) return ok(rereadJob(parts, id, systemAmbient.now()))
    if (parts.jobs.find(id)) return verdict
    const archived = await this.#archived(parts, principal, id)
    return archived.ok ? refuse('conflict', 'The job has ended and is archived: it can only be read.') : archived
  }

  #readBatch(parts: Parts, principal: Principal, id: string): Result<Answered<BatchRecord>> {
    const found = findBatch(parts, principal, id)
    return found.ok ? ok(answer(parts, toWire(batchRecord(parts, found.value)), systemAmbient.now())) : found
  }

  #replayView(parts: Parts, found: Result<ReplayRow>): Result<Wire<ReplayRecord>> {
    return found.ok ? ok(toWire(replayRecord(found.value, parts.identity.id))) : found
  }
}

const wired = <T>(result: Result<T>): Result<Wire<T>> => (result.ok ? ok(toWire(result.value)) : result)

/** Whoever is of one project learns of no other. */
const viewOf = (parts: Parts, project: string | null = null): InstanceView => {
  const { id, organization, config, created_at_ms } = parts.identity
  const { project_weights: weights, ...rest } = config
  const own = Object.entries(weights ?? {}).filter(([name]) => project === null || name === project)
  const seen = weights ? { ...rest, project_weights: Object.fromEntries(own) } : rest
  return { id, object: 'instance', organization, config: seen, created_at: isoTime(created_at_ms) }
}

/** What is refused for want of room says how much there is, as an answer does. */
const withRoom = (parts: Parts, refused: Refusal): Refusal => ({
  ...refused,
  quotas: roomOf(parts, systemAmbient.now()),
})

const noJob = () => refuse('not_found', 'There is no such job.')

const noLongerKept = () =>
  refuse('conflict', 'What this Idempotency-Key made is no longer kept.', { param: 'Idempotency-Key' })
