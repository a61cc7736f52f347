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
import { endsJob } from '../contract/event.ts'
import { ok, type Result, refuse } from '../contract/fault.ts'
import type { CallEnd, CallNext, OpenCall, Opening } from '../contract/foreground-rpc.ts'
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
import type { LineEvent, LogFilter, LogPage } from '../contract/log.ts'
import type { PriceRequest, PriceView } from '../contract/price.ts'
import {
  type Answered,
  type AttemptRef,
  type Caller,
  fromWire,
  type Quota,
  type Report,
  type ReportReply,
  toWire,
  type Wire,
} from '../contract/rpc.ts'
import type { UsageQuery, UsageReport } from '../contract/usage-report.ts'
import { earliest } from '../core/alarm.ts'
import { backoffMs } from '../core/outcome.ts'
import type { Env } from '../env.ts'
import { LIMITS } from '../limits.ts'
import { deleteArtifacts } from '../storage/artifacts.ts'
import { notHere, type Principal } from './access.ts'
import { systemAmbient } from './ambient.ts'
import { type BatchRecords, batchRecord, cancelBatch, findBatch, readBatches, takeInBatch } from './batches.ts'
import { listBudgets, readBudget, removeBudget, saveBudget } from './budgets.ts'
import { callEnded, endCall, giveUpCall, retryAfterOf, takeCall } from './calls.ts'
import { type DeadLetterPageRequest, ownProject, readDeadLetters } from './dead-letter-reader.ts'
import { noDeadLetter } from './dead-letters.ts'
import { GroupCommit } from './group-commit.ts'
import { type Delivery, Hooks, notOurs } from './hooks.ts'
import { type SubmitOptions, takeIn } from './intake.ts'
import type { JobFilter } from './job-rows.ts'
import { logTransition } from './log.ts'
import { readLog } from './log-reader.ts'
import { isProvisioned, openParts, type Parts, saveIdentity } from './parts.ts'
import { type ModelPrice, modelPrices } from './pricing.ts'
import { changeProject, createProject, deleteProject, listProjects, readProject } from './projects.ts'
import { proveBooks } from './proof.ts'
import { answer, type JobRecords, queueBound, readArchivedJob, readJob, readJobs, visible } from './reader.ts'
import type { ReplayRow } from './replay-store.ts'
import { replayRecord } from './replays.ts'
import { OPEN_EVENTS, type OpenEvents, planSubscription } from './subscriptions.ts'
import type { Effects } from './transitions.ts'
import { readUsage } from './usage-reader.ts'
import { createVault, type Vault } from './vault.ts'
import { isoTime, keyView, quotasOf } from './views.ts'

export type Submitted = Answered<JobRecord> & { replayed: boolean }

/**
 * The Instance: the only writer of an instance's truth. Each call is authenticated here, decided by the pure core and
 * written in one transaction, together with whatever arrived at the same moment.
 */
export class Instance extends DurableObject<Env> {
  #parts: Parts | null = null
  readonly #vault: Vault
  readonly #commit = new GroupCommit(
    (operations) => this.#transact(operations),
    () => this.ctx.storage.sync(),
  )
  readonly #apply = <T>(operation: () => T): Promise<T> => this.#commit.apply(operation)
  /** Work for lanes whose report is being answered: it travels with the answer. */
  readonly #replies = new Map<number, ReportReply['assign']>()
  #hooks: Hooks | null = null
  #erasing: Promise<void> | null = null
  #trimming: Promise<void> | null = null
  /** When the alarm is set to ring; null where that is not known. */
  #alarmAt: number | null = null
  /** Turns by alarm that failed in a row. */
  #turnFaults = 0

  constructor(state: DurableObjectState, env: Env) {
    super(state, env)
    this.#vault = createVault(env.MASTER_KEY)
    if (!isProvisioned(state.storage.sql)) return
    const parts = openParts(state, env, systemAmbient.now(), this.#apply)
    this.#parts = parts
    void state.blockConcurrencyWhile(async () => {
      parts.books.keyIds = await this.#vault.keyIds()
      // Attempts of an earlier process are asked after at once, not when its alarm would have rung.
      if (parts.books.lanes.some((load) => load > 0) || parts.sealing.isDue) this.#wake(systemAmbient.now())
      // What was old before this version knew how to trim, or when a step was cut off.
      else if ((await state.storage.getAlarm()) === null) this.#wake(parts.retention.nextAtMs())
    })
  }

  // ------------------------------------------------------------------------------------- the instance itself

  async provision(
    id: string,
    organization: string | null,
    config: InstanceConfig,
  ): Promise<Result<Wire<InstanceView>>> {
    const keyIds = await this.#vault.keyIds()
    if (this.#parts) return refuse('conflict', 'An instance of this id exists.', { param: 'id' })
    const founding = { id, organization, config, created_at_ms: systemAmbient.now(), deleting: false }
    this.#parts = openParts(this.ctx, this.env, founding.created_at_ms, this.#apply, founding)
    this.#parts.books.keyIds = keyIds
    this.#parts.sealing.found()
    return ok(toWire(this.#view(this.#parts)))
  }

  async describe(caller: Caller): Promise<Result<Wire<InstanceView>>> {
    return this.#as(caller, 'read', (parts) => ok(toWire(this.#view(parts))))
  }

  async configure(caller: Caller, config: InstanceConfig): Promise<Result<Wire<InstanceView>>> {
    return this.#as(caller, 'admin', (parts) => {
      parts.identity.config = { ...parts.identity.config, ...config }
      saveIdentity(parts.admin, parts.identity)
      parts.books.applyConfig(parts.identity.config)
      parts.retention.begin()
      // Another calendar, or another rule for jobs over budget: what waits is looked at again.
      this.#wake(systemAmbient.now())
      return parts.log.change(caller, 'instance.configured', {}, ok(toWire(this.#view(parts))), config)
    })
  }

  /** Ends every job and subscription and deletes all data. Goes on by alarm where that takes long; may be repeated. */
  async destroy(): Promise<Result<null>> {
    const parts = this.#parts
    if (!parts) return notHere()
    parts.identity.deleting = true
    saveIdentity(parts.admin, parts.identity)
    parts.broadcast.closeAll('instance deleted')
    parts.waiters.releaseAll()
    parts.foreground.releaseAll()
    await this.#erase(parts)
    return ok(null)
  }

  // ---------------------------------------------------------------------------------------------------- jobs

  async submit(caller: Caller, wire: Wire<JobRequest>, options: SubmitOptions): Promise<Result<Submitted>> {
    const parts = this.#parts
    if (!parts || parts.identity.deleting) return notHere()
    const access = parts.access.check(caller, 'jobs', systemAmbient.now())
    if (!access.ok) return access
    const request = fromWire(wire)
    const submitted = await this.#commit.apply(() => takeIn(parts, access.value, caller.requestId, request, options))
    if (!submitted.ok) return submitted
    const waited = await this.#wait(parts, caller, submitted.value.id, options.waitMs)
    if (!waited.ok) return waited
    const { id, replayed } = submitted.value
    if (parts.jobs.find(id))
      return ok({ ...readJob(parts, id, systemAmbient.now(), LIMITS.queuePositionAtSubmit), replayed })
    const archived = await this.#archived(parts, access.value, id)
    return archived.ok ? ok({ ...archived.value, replayed }) : noLongerKept()
  }

  /** Who submits may wait for what it submitted: the edge then asks with the scope `jobs`. */
  async job(
    caller: Caller,
    id: string,
    waitMs: number,
    scope: 'read' | 'jobs' = 'read',
  ): Promise<Result<Answered<JobRecord>>> {
    return this.#as(caller, scope, async (parts, principal) => {
      if (!visible(parts.jobs.find(id), principal)) return this.#archived(parts, principal, id)
      const waited = await this.#wait(parts, caller, id, waitMs)
      if (!waited.ok) return waited
      if (!parts.jobs.find(id)) return this.#archived(parts, principal, id)
      return ok(readJob(parts, id, systemAmbient.now()))
    })
  }

  async jobs(caller: Caller, filter: JobFilter): Promise<Result<Answered<JobRecords>>> {
    return this.#as(caller, 'read', (parts, principal, now) => ok(readJobs(parts, principal, filter, now)))
  }

  async cancel(caller: Caller, id: string): Promise<Result<Answered<JobRecord>>> {
    return this.#as(caller, 'jobs', async (parts, principal) => {
      const verdict = await this.#commit.apply((): Result<null> => {
        const row = parts.jobs.find(id)
        if (!row || !visible(row, principal)) return noJob()
        if (row.status === 'canceled' || parts.scheduler.cancel(row)) return ok(null)
        return refuse('conflict', `The job has already ${row.status}.`)
      })
      if (verdict.ok) return ok(readJob(parts, id, systemAmbient.now()))
      return this.#archivedOr(verdict, parts, principal, id)
    })
  }

  /** A failed job runs again. */
  async replay(caller: Caller, id: string): Promise<Result<Answered<JobRecord>>> {
    return this.#as(caller, 'jobs', async (parts, principal) => {
      const verdict = await this.#commit.apply((): Result<null> => {
        const row = parts.jobs.find(id)
        return visible(row, principal) ? parts.deadLetters.readmit(row, null) : noJob()
      })
      if (verdict.ok) return ok(readJob(parts, id, systemAmbient.now()))
      return this.#archivedOr(verdict, parts, principal, id)
    })
  }

  // -------------------------------------------------------------------------------------------- dead letters

  async deadLetters(caller: Caller, page: DeadLetterPageRequest): Promise<Result<Answered<DeadLetterRecords>>> {
    return this.#as(caller, 'read', (parts, principal, now) => ok(readDeadLetters(parts, principal, page, now)))
  }

  async discard(caller: Caller, id: string): Promise<Result<null>> {
    return this.#as(caller, 'jobs', (parts, principal) =>
      this.#commit.apply((): Result<null> => {
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
      return ok(await this.#commit.apply(() => parts.deadLetters.discardAll(filter, principal.project)))
    })
  }

  async orderReplay(caller: Caller, request: ReplayRequest): Promise<Result<Wire<ReplayRecord>>> {
    return this.#as(caller, 'jobs', async (parts, principal) => {
      const own = ownProject(principal, request.project)
      if (!own.ok) return own
      const ordered = await this.#commit.apply(() => parts.replays.order(request, principal.project, caller.requestId))
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
      this.#replayView(parts, await this.#commit.apply(() => parts.replays.cancel(id, principal.project))),
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
      const taken = await this.#commit.apply(() => takeInBatch(parts, principal, caller.requestId, request, options))
      if (!taken.ok) return taken
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
      const canceled = await this.#commit.apply(() => cancelBatch(parts, principal, id))
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
    const parts = this.#parts
    const reports = fromWire(wire)
    if (!parts || parts.identity.deleting)
      return toWire({ assign: [], stop: reports.map(({ job, attempt }) => ({ job, attempt })) })
    parts.lanes.reported(lane, systemAmbient.now(), bornAtMs)
    const stop = reports.flatMap((report) => (report.kind === 'progress' ? this.#onProgress(parts, report) : []))
    const ends = reports.flatMap((report) => (report.kind === 'end' ? [report] : []))
    const assign: ReportReply['assign'] = []
    if (ends.length > 0) {
      this.#replies.set(lane, assign)
      // Each for itself: an end that cannot be written keeps no other from it.
      const written = ends.map((report) => this.#commit.apply(() => parts.scheduler.end(report, report.end)))
      const failed = (await Promise.allSettled(written)).find((result) => result.status === 'rejected')
      this.#replies.delete(lane)
      if (failed) this.#refuseReport(parts, lane, assign, failed.reason)
    }
    return toWire({ assign, stop })
  }

  /** A provider says that an attempt has moved on. Repeats and latecomers are harmless: the provider is only asked again. */
  async hook(delivery: Delivery): Promise<Result<null>> {
    const parts = this.#parts
    if (!parts || parts.identity.deleting) return notHere()
    // Only an attempt that waits is worth a verification, which may have to ask the provider for the signing secret.
    const { job, attempt } = delivery.attempt
    const row = parts.jobs.find(job)
    if (row?.status !== 'running' || row.attempt !== attempt || row.lane === null) return notOurs()
    const verified = await this.#hooksOf(parts).verify(delivery, systemAmbient.now())
    if (verified.ok) this.ctx.waitUntil(parts.lanes.poke(row.lane, { job, attempt }))
    return verified
  }

  // ------------------------------------------------------------------------------------------ calls on the line

  /** Answers when the call's first attempt may begin; until then its caller waits in the queue like any job. */
  async openCall(caller: Caller, wire: Wire<OpenCall>): Promise<Result<{ opening: Wire<Opening>; quotas: Quota[] }>> {
    return this.#as(caller, 'jobs', async (parts, principal) => {
      const call = fromWire(wire)
      const id = systemAmbient.id('job')
      const turn = parts.foreground.expect(id)
      const taken = await this.#commit
        .apply(() => takeCall(parts, principal, caller.requestId, id, call))
        .catch((error: unknown) => {
          parts.foreground.over(id)
          throw error
        })
      if (!taken.ok) {
        parts.foreground.over(id)
        return taken
      }
      const waitMs = Math.min(call.waitMs, call.deadlineS * 1000)
      const opening = (await turn.within(waitMs)) ?? (await this.#giveUpCall(parts, id))
      const now = systemAmbient.now()
      if (opening) return ok({ opening: toWire(opening), quotas: quotasOf(parts.books, queueBound(parts), now) })
      return refuse('rate_limited', 'The limits of this instance let no call begin in time.', {
        retryAfterMs: retryAfterOf(parts, call, now),
      })
    })
  }

  /** An attempt on the line has ended. Answers the next one, when its turn has come, or how the call ended. */
  async closeCall(ref: AttemptRef, wire: Wire<CallEnd>): Promise<Wire<CallNext>> {
    const parts = this.#parts
    if (!parts || parts.identity.deleting) return toWire({ next: 'end', fault: null, costMicros: null })
    const end = fromWire(wire)
    // Waited for before it can begin: a fallback may begin in the transaction that ends the attempt before it.
    const turn = parts.foreground.expect(ref.job)
    await this.#commit
      .apply(() => endCall(parts, ref, end))
      .catch((error: unknown) => {
        turn.tell(null)
        throw error
      })
    const waitMs = Math.max(0, end.waitMs ?? LIMITS.backoffMaxMs)
    const next = callEnded(parts, ref.job) ? null : await turn.within(waitMs)
    const ended = callEnded(parts, ref.job)
    const opening = next ?? (ended ? null : await this.#giveUpCall(parts, ref.job))
    if (opening) return toWire({ next: 'attempt', opening })
    parts.foreground.over(ref.job)
    // Given up here, it was canceled by nobody: its caller is told of the failure that it has met.
    return toWire(ended ?? { next: 'end', fault: null, costMicros: null })
  }

  /** Attempts that are still driven on the line. Answers those that are over for the Instance: stop them. */
  async renewCalls(refs: AttemptRef[]): Promise<AttemptRef[]> {
    return this.#parts?.foreground.renew(refs, systemAmbient.now()) ?? refs
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
    const allowPrivate = this.env.ALLOW_PRIVATE_UPSTREAMS === 'true'
    return this.#administer(caller, (parts, now) => {
      const configured = parts.administration.configureProvider(id, request, allowPrivate, now)
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
          : { plain: change.secret, sealed: await this.#vault.seal(change.secret, identity) }
      if (this.#parts !== parts || parts.identity.deleting) return notHere()
      const origin = { now: systemAmbient.now(), requestId: caller.requestId }
      const event = mode === 'create' ? 'credential.created' : 'credential.changed'
      const saved = await this.#commit.apply(() => {
        const result = parts.administration.saveCredential(provider, name, { ...change, secret }, mode, origin)
        return parts.log.change(caller, event, { provider, credential: name }, result, change)
      })
      if (saved.ok && secret) this.#tellLanes(parts)
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

  /** One alarm for everything that is due. It never throws: the platform gives up on an alarm that does. */
  override async alarm(): Promise<void> {
    const parts = this.#parts
    this.#alarmAt = null
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
      this.#wake(systemAmbient.now() + backoffMs(this.#turnFaults, systemAmbient.random()))
      this.#logFault(parts, 'instance.turn_failed', error)
      // A turn that fails keeps nobody from finding out what became of the attempts.
      this.ctx.waitUntil(this.#askSilentLanes(parts))
    }
  }

  /** Only for event subscriptions; everything else is RPC. */
  override async fetch(request: Request): Promise<Response> {
    const open = JSON.parse(request.headers.get(OPEN_EVENTS) ?? '{}') as OpenEvents
    const parts = this.#parts
    const subscription =
      parts && !parts.identity.deleting ? planSubscription(parts, open, systemAmbient.now()) : notHere()
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

  /** One transaction: the operations, then a turn of the scheduler. All of it or, on a throw, nothing. */
  #transact(operations: (() => void)[]): void {
    const parts = this.#parts
    if (!parts) throw new Error('an instance that does not exist has nothing to write')
    let wakeAt: number | null = null
    try {
      this.ctx.storage.transactionSync(() => {
        parts.jobs.begin()
        for (const operation of operations) operation()
        for (const job of parts.foreground.silent(systemAmbient.now())) parts.scheduler.loseOnLine(job)
        if (!parts.identity.deleting) wakeAt = earliest(parts.replays.turn(), parts.scheduler.turn())
        parts.jobs.flush()
        parts.events.flush()
      })
    } catch (error) {
      parts.scheduler.takeEffects()
      // A row may be to blame: the next turn looks closer, and sets it aside.
      parts.jobs.careful = true
      parts.books.reload(parts.jobs, parts.events, parts.admin)
      parts.accounts.reload()
      parts.replays.reload()
      throw error
    }
    // What is done stays done: a fault from here on must not look like a transaction that was rolled back.
    try {
      this.#afterCommit(parts, parts.scheduler.takeEffects(), wakeAt)
    } catch (error) {
      this.#logFault(parts, 'instance.after_commit_failed', error)
      this.#wake(systemAmbient.now() + LIMITS.backoffBaseMs)
    }
  }

  /** Nobody waits for the call any more; where its attempt began in this very moment, it is answered all the same. */
  async #giveUpCall(parts: Parts, id: string): Promise<Opening | null> {
    const late = parts.foreground.takeUndelivered(id)
    if (late) return late
    await this.#commit.apply(() => {
      if (!parts.foreground.hasUndelivered(id)) giveUpCall(parts, id)
    })
    return parts.foreground.takeUndelivered(id)
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
      const reply = this.#replies.get(lane)
      if (reply) reply.push(...assignments)
      else this.ctx.waitUntil(parts.lanes.assign(lane, assignments, now))
    }
    for (const [lane, refs] of effects.stop) this.ctx.waitUntil(parts.lanes.stop(lane, refs))
    const leases = earliest(parts.lanes.nextExpiry(parts.books.lanes), parts.foreground.nextExpiry())
    this.#wake(earliest(wakeAt, leases, parts.retention.nextAtMs()))
    if (parts.lanes.silent(parts.books.lanes, now).length > 0) this.ctx.waitUntil(this.#askSilentLanes(parts))
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
        await Promise.all(lost.map((ref) => this.#commit.apply(() => parts.scheduler.lose(ref, laneBornAtMs))))
      })
      if (this.#parts !== parts || parts.identity.deleting) return
      if (failed) this.#logFault(parts, 'instance.lane_not_asked', failed.error)
      this.#wake(parts.lanes.nextExpiry(parts.books.lanes))
    })
    await Promise.all(asked)
  }

  /** Whatever still holds an older secret learns of the new one at once, and by alarm where that does not succeed. */
  #tellLanes(parts: Parts): void {
    parts.sealing.replaced()
    const told = this.#seal(parts).catch((error) => {
      this.#logFault(parts, 'instance.sealing_failed', error)
      this.#wake(systemAmbient.now() + LIMITS.renewRetryMs)
    })
    this.ctx.waitUntil(told)
  }

  async #seal(parts: Parts): Promise<void> {
    if (!parts.sealing.isDue || parts.identity.deleting) return
    const waitMs = await parts.sealing.step(this.#vault, (operation) => this.#commit.apply(operation))
    if (waitMs !== null) this.#wake(systemAmbient.now() + waitMs)
  }

  /** Takes what steps of trimming are due, beside the turn: it may have to wait for the bucket. */
  #trim(parts: Parts): void {
    if (parts.retention.isBusy) return
    this.#trimming = parts.retention
      .run()
      .catch((error) => this.#logFault(parts, 'instance.trimming_failed', error))
      .then(() => {
        if (this.#parts === parts && !parts.identity.deleting) this.#wake(parts.retention.nextAtMs())
      })
  }

  #wake(at: number | null): void {
    if (at === null || (this.#alarmAt !== null && this.#alarmAt <= at && this.#alarmAt > systemAmbient.now())) return
    // Whole milliseconds, rounded up: an alarm that rings a fraction early finds nothing to do and is set again.
    // What is overdue rings at once; the platform takes no time at or before the epoch.
    this.#alarmAt = Math.max(1, Math.ceil(at))
    void this.ctx.storage.setAlarm(this.#alarmAt)
  }

  /** The lane will repeat its ends. Work that was to travel with the answer goes by itself. */
  #refuseReport(parts: Parts, lane: number, assign: ReportReply['assign'], error: unknown): never {
    this.#logFault(parts, 'instance.end_failed', error)
    if (assign.length > 0) this.ctx.waitUntil(parts.lanes.assign(lane, assign, systemAmbient.now()))
    throw error
  }

  #onProgress(parts: Parts, report: Extract<Report, { kind: 'progress' }>): AttemptRef[] {
    const { job, attempt, progress, message, rate } = report
    const row = parts.jobs.findRunning(job)
    if (row?.attempt !== attempt) return [{ job, attempt }]
    parts.progress.set(job, progress)
    if (rate?.remaining === 0) this.ctx.waitUntil(this.#commit.apply(() => parts.scheduler.rateHint(job, rate)))
    parts.broadcast.progress({ ...row, id: job }, systemAmbient.now(), { progress, message })
    return []
  }

  /** Holds until the job ends or the time is over; then the caller must still have a right here. */
  async #wait(parts: Parts, caller: Caller, id: string, waitMs: number): Promise<Result<null>> {
    const row = waitMs > 0 ? parts.jobs.find(id) : null
    if (!row || isFinal(row.status)) return ok(null)
    await parts.waiters.until(id, waitMs)
    if (this.#parts !== parts || parts.identity.deleting) return notHere()
    const access = parts.access.check(caller, 'read', systemAmbient.now())
    // Who may only submit was told of its own job before, and is now.
    return access.ok || access.fault.code === 'permission_denied' ? ok(null) : access
  }

  /** A job that is only in the archive any more. */
  async #archived(parts: Parts, principal: Principal, id: string): Promise<Result<Answered<JobRecord>>> {
    const record = await readArchivedJob(parts, principal, id)
    if (this.#parts !== parts || parts.identity.deleting) return notHere()
    return record ? ok(answer(parts, toWire(record), systemAmbient.now())) : noJob()
  }

  /** What is asked of an archived job is refused as what it is; `refused` stands for any other. */
  async #archivedOr(refused: Result<never>, parts: Parts, principal: Principal, id: string): Promise<Result<never>> {
    if (parts.jobs.find(id)) return refused
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

  #hooksOf(parts: Parts): Hooks {
    this.#hooks ??= new Hooks(parts.books, this.#vault, this.env.ALLOW_PRIVATE_UPSTREAMS === 'true')
    return this.#hooks
  }

  #logFault(parts: Parts, event: LineEvent, error: unknown): void {
    const { name, stack } = error instanceof Error ? error : { name: typeof error, stack: '' }
    // Not the message: it could repeat what a client sent.
    const where = (stack ?? '').split('\n').slice(1, 4).join(' ').slice(0, 500)
    console.error(JSON.stringify({ level: 'error', event, instance: parts.identity.id, name, where }))
    parts.log.fault(event, name)
  }

  #view(parts: Parts): InstanceView {
    const { id, organization, config, created_at_ms } = parts.identity
    return { id, object: 'instance', organization, config, created_at: isoTime(created_at_ms) }
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
    // Whatever interrupts this, the alarm goes on with it.
    void this.ctx.storage.setAlarm(systemAmbient.now() + LIMITS.backoffMaxMs)
    // It may be writing to the bucket.
    await this.#trimming
    for (let lane = 0; lane < parts.books.lanesOpened; lane += 1) {
      await this.env.LANE.getByName(`${parts.identity.id}/${lane}`).destroy()
    }
    let more = true
    while (more) more = (await deleteArtifacts(this.env.ARTIFACTS, parts.identity.id)).more
    await this.ctx.storage.deleteAlarm()
    await this.ctx.storage.deleteAll()
    // Only now may the instance be founded anew: what is new must not be wiped.
    this.#parts = null
    this.#hooks = null
    this.#alarmAt = null
  }
}

const wired = <T>(result: Result<T>): Result<Wire<T>> => (result.ok ? ok(toWire(result.value)) : result)

const noJob = () => refuse('not_found', 'There is no such job.')

const noLongerKept = () =>
  refuse('conflict', 'What this Idempotency-Key made is no longer kept.', { param: 'Idempotency-Key' })
