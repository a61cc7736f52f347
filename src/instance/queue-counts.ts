const MINUTE_MS = 60_000

/** A job as far as its place in the queue goes. */
export type Queued = { provider: string; model: string; priority: number; queued_at_ms: number }

/** How many jobs could start, by provider, model and priority, and since when: counted as they come and go. */
export class QueueCounts {
  /** Per provider: models, their priorities, and how many jobs of each. */
  readonly #ready = new Map<string, Map<string, Map<number, number>>>()
  /** Per `model priority`: how many wait since which minute. */
  readonly #since = new Map<string, Map<number, number>>()

  enter(job: Queued, count = 1): void {
    const models = this.#ready.get(job.provider) ?? new Map<string, Map<number, number>>()
    const priorities = models.get(job.model) ?? new Map<number, number>()
    raise(priorities, job.priority, count)
    this.#ready.set(job.provider, models.set(job.model, priorities))
    const since = this.#since.get(`${job.model} ${job.priority}`) ?? new Map<number, number>()
    raise(since, minuteOf(job), count)
    this.#since.set(`${job.model} ${job.priority}`, since)
  }

  leave(job: Queued): void {
    const models = this.#ready.get(job.provider)
    const priorities = models?.get(job.model)
    lower(priorities, job.priority)
    if (priorities?.size === 0) models?.delete(job.model)
    const since = this.#since.get(`${job.model} ${job.priority}`)
    lower(since, minuteOf(job))
    if (since?.size === 0) this.#since.delete(`${job.model} ${job.priority}`)
  }

  /** Models of a provider with jobs that could start, and how many of each priority. */
  ready(provider: string): ReadonlyMap<string, ReadonlyMap<number, number>> {
    return this.#ready.get(provider) ?? new Map()
  }

  /** Jobs of one model that could start. */
  waitingFor(provider: string, model: string): number {
    return [...(this.ready(provider).get(model)?.values() ?? [])].reduce((sum, count) => sum + count, 0)
  }

  /** Jobs of a provider that could start. */
  waitingAt(provider: string): number {
    return this.readyAbove(provider, Number.NEGATIVE_INFINITY)
  }

  /** Those with a higher priority. */
  readyAbove(provider: string, priority: number): number {
    let sum = 0
    for (const counts of this.ready(provider).values()) {
      for (const [other, count] of counts) if (other > priority) sum += count
    }
    return sum
  }

  /** Since when the oldest of a model waits, to the minute, in ms since the epoch. */
  oldestAtMs(model: string, priority: number): number {
    let oldest = Number.POSITIVE_INFINITY
    for (const minute of this.#since.get(`${model} ${priority}`)?.keys() ?? []) oldest = Math.min(oldest, minute)
    return oldest * MINUTE_MS
  }

  clear(): void {
    this.#ready.clear()
    this.#since.clear()
  }
}

const minuteOf = (job: Queued): number => Math.floor(job.queued_at_ms / MINUTE_MS)

const raise = (counts: Map<number, number>, key: number, by: number): void => {
  counts.set(key, (counts.get(key) ?? 0) + by)
}

const lower = (counts: Map<number, number> | undefined, key: number): void => {
  const left = (counts?.get(key) ?? 0) - 1
  if (left > 0) counts?.set(key, left)
  else counts?.delete(key)
}
