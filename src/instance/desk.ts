import type { AttemptRef } from '../contract/rpc.ts'
import type { Accounts } from './accounts.ts'
import type { AdminStore } from './admin-store.ts'
import type { Ambient } from './ambient.ts'
import type { BatchStore } from './batch-store.ts'
import type { Books } from './books.ts'
import type { EventStore } from './event-store.ts'
import type { InstanceLog } from './instance-log.ts'
import type { JobStore } from './job-store.ts'
import type { Usage } from './usage.ts'

/** The database, its mirror, and the world's time and chance: what every decision is made and written with. */
export type Desk = {
  instance: string
  jobs: JobStore
  events: EventStore
  admin: AdminStore
  batches: BatchStore
  books: Books
  accounts: Accounts
  usage: Usage
  log: InstanceLog
  ambient: Ambient
  /** Where a provider may tell of an attempt; null where this deployment cannot be reached, or the provider does not tell. */
  webhookUrl(provider: string, attempt: AttemptRef): string | null
  /** Whether a client waits on the line for this job. */
  isWaitedFor(job: string): boolean
}
