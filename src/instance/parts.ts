import type { InstanceConfig } from '../contract/instance.ts'
import type { JobRecord } from '../contract/job.ts'
import type { AttemptRef } from '../contract/rpc.ts'
import type { Env } from '../env.ts'
import { providerOf } from '../providers/registry.ts'
import { migrate } from '../storage/migrations.ts'
import { Access } from './access.ts'
import { Accounts } from './accounts.ts'
import { AdminStore } from './admin-store.ts'
import { Administration } from './administration.ts'
import { systemAmbient } from './ambient.ts'
import { BatchStore } from './batch-store.ts'
import { Books } from './books.ts'
import { Broadcast } from './broadcast.ts'
import { DeadLetterStore } from './dead-letter-store.ts'
import { DeadLetters } from './dead-letters.ts'
import { EventStore } from './event-store.ts'
import { Foreground } from './foreground.ts'
import { Hooks } from './hooks.ts'
import { IdempotencyStore } from './idempotency-store.ts'
import { InstanceLog } from './instance-log.ts'
import { JobStore } from './job-store.ts'
import { Lanes } from './lanes.ts'
import { LedgerStore } from './ledger-store.ts'
import { LogStore } from './log-store.ts'
import { PriceBook } from './price-book.ts'
import { PriceStore } from './price-store.ts'
import { Pricing } from './pricing.ts'
import { queueBound, recordOf } from './reader.ts'
import { ReplayStore } from './replay-store.ts'
import { Replays } from './replays.ts'
import { Retention } from './retention.ts'
import { Scheduler } from './scheduler.ts'
import { INSTANCE_MIGRATIONS } from './schema.ts'
import { Sealing } from './sealing.ts'
import type { Apply } from './trimmer.ts'
import { Usage, zoneOf } from './usage.ts'
import { UsageStore } from './usage-store.ts'
import type { Vault } from './vault.ts'
import { Waiters } from './waiters.ts'

/** What the instance is, kept in its own database. */
export type Identity = {
  id: string
  organization: string | null
  created_at_ms: number
  config: InstanceConfig
  deleting: boolean
}

/** The parts of a provisioned Instance, wired. One that is not provisioned has none, and stores nothing. */
export type Parts = {
  identity: Identity
  admin: AdminStore
  jobs: JobStore
  idempotency: IdempotencyStore
  events: EventStore
  books: Books
  ledger: LedgerStore
  accounts: Accounts
  usage: UsageStore
  logs: LogStore
  log: InstanceLog
  access: Access
  administration: Administration
  pricing: Pricing
  scheduler: Scheduler
  batches: BatchStore
  letters: DeadLetterStore
  deadLetters: DeadLetters
  replays: Replays
  broadcast: Broadcast
  lanes: Lanes
  sealing: Sealing
  waiters: Waiters
  foreground: Foreground
  hooks: Hooks
  retention: Retention
  /** Of running jobs, 0…1: told, not kept. */
  progress: Map<string, number>
}

export const isProvisioned = (sql: SqlStorage): boolean =>
  sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'").toArray().length > 0

/** What the parts are made of, and what they reach out to. */
export type World = { state: DurableObjectState; env: Env; vault: Vault; apply: Apply }

export const openParts = ({ state, env, vault, apply }: World, now: number, founding?: Identity): Parts => {
  const { sql } = state.storage
  migrate(sql, state.storage, INSTANCE_MIGRATIONS, now)
  const admin = new AdminStore(sql)
  if (founding) saveIdentity(admin, founding)
  const identity = founding ?? storedIdentity(admin)
  const jobs = new JobStore(sql)
  const events = new EventStore(sql)
  const prices = new PriceStore(sql)
  const books = new Books(identity.id, new PriceBook(prices))
  books.reload(jobs, events, admin)
  const ledger = new LedgerStore(sql)
  const accounts = new Accounts({ store: ledger, jobs, config: () => identity.config, ambient: systemAmbient })
  accounts.reload()
  const usage = new UsageStore(sql, admin)
  const logs = new LogStore(sql)
  const log = new InstanceLog(logs, () => books.seq, systemAmbient.now)
  const access = new Access()
  access.reload(admin)
  const foreground = new Foreground(onLine(jobs), now)
  const batches = new BatchStore(sql, jobs)
  const scheduler = new Scheduler({
    instance: identity.id,
    jobs,
    events,
    admin,
    batches,
    books,
    accounts,
    usage: new Usage(usage, books.usage, systemAmbient.now, () => zoneOf(identity.config)),
    log,
    ambient: systemAmbient,
    webhookUrl: webhookUrls(env, identity.id),
    isWaitedFor: (job) => foreground.waitsFor(job),
  })
  const letters = new DeadLetterStore(sql, jobs)
  const deadLetters = new DeadLetters({
    store: letters,
    jobs,
    books,
    accounts,
    scheduler,
    ambient: systemAmbient,
    queueBound: () => queueBound({ identity }),
  })
  const lanes = new Lanes((lane) => env.LANE.getByName(`${identity.id}/${lane}`), lanesOf(jobs), now)
  const retention = new Retention(
    {
      sql,
      bucket: env.ARTIFACTS,
      identity,
      jobs,
      admin,
      usage,
      ambient: systemAmbient,
      apply,
      recordOf: (id) => readableRecord(parts, id),
    },
    founding !== undefined,
  )
  const parts: Parts = {
    identity,
    admin,
    jobs,
    idempotency: new IdempotencyStore(sql),
    events,
    books,
    ledger,
    accounts,
    usage,
    logs,
    log,
    access,
    administration: new Administration(admin, books, scheduler.credentials),
    pricing: new Pricing(prices, books.prices),
    scheduler,
    batches,
    letters,
    deadLetters,
    replays: new Replays(new ReplayStore(sql), letters, jobs, deadLetters, systemAmbient),
    broadcast: new Broadcast(state, events, () => books.seq),
    lanes,
    sealing: new Sealing(admin, books, lanes),
    waiters: new Waiters(),
    foreground,
    hooks: new Hooks(books, vault, env.ALLOW_PRIVATE_UPSTREAMS === 'true'),
    retention,
    progress: new Map(),
  }
  return parts
}

/** Null where its row cannot be read. */
const readableRecord = (parts: Parts, id: string): JobRecord | null => {
  const row = parts.jobs.findReadable(id)
  try {
    return row && recordOf(parts, row, null, systemAmbient.now())
  } catch {
    return null // what should be JSON is none
  }
}

const webhookUrls =
  (env: Env, instance: string) =>
  (provider: string, attempt: AttemptRef): string | null => {
    if (!env.PUBLIC_BASE_URL || !providerOf(provider)?.webhook) return null
    const base = env.PUBLIC_BASE_URL.replace(/\/+$/, '')
    return `${base}/v1/instances/${instance}/hooks/${provider}?job=${attempt.job}&attempt=${attempt.attempt}`
  }

const onLine = (jobs: JobStore): string[] => jobs.running().flatMap(({ id, lane }) => (lane === null ? [id] : []))

const lanesOf = (jobs: JobStore): number[] => [
  ...new Set(jobs.running().flatMap((row) => (row.lane === null ? [] : [row.lane]))),
]

const storedIdentity = (admin: AdminStore): Identity => JSON.parse(admin.meta('instance') ?? '{}') as Identity

/** What is in memory as it was last written, after a transaction that was rolled back. */
export const reloadParts = (parts: Parts): void => {
  Object.assign(parts.identity, storedIdentity(parts.admin))
  parts.admin.reload()
  parts.books.reload(parts.jobs, parts.events, parts.admin)
  parts.accounts.reload()
  parts.replays.reload()
  parts.scheduler.reload()
}

export const saveIdentity = (admin: AdminStore, identity: Identity): void =>
  admin.setMeta('instance', JSON.stringify(identity))
