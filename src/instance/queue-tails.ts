import { QueueTail } from '../core/queue-tail.ts'
import { LIMITS } from '../limits.ts'
import type { JobRow } from './job-rows.ts'

/** Who has come last to each queue, by model and priority: how many stand behind a job that came lately need not be counted. */
export class QueueTails {
  readonly #tails = new Map<string, QueueTail>()

  /** A job joined a queue, left one, or stands elsewhere in it. */
  moved(before: JobRow | null, after: JobRow): void {
    if (before && isWaiting(before)) this.of(before).left(before)
    if (isWaiting(after)) this.of(after).entered(after)
  }

  of({ model, priority }: Pick<JobRow, 'model' | 'priority'>): QueueTail {
    const key = `${model} ${priority}`
    const known = this.#tails.get(key)
    if (known) return known
    if (this.#tails.size >= LIMITS.modelsRemembered) this.#tails.clear()
    const tail = new QueueTail(LIMITS.queueTail)
    this.#tails.set(key, tail)
    return tail
  }

  /** The queues have changed in a way that is not known. */
  clear(): void {
    this.#tails.clear()
  }
}

const isWaiting = (row: JobRow): boolean => row.status === 'queued' && row.due_at_ms === null
