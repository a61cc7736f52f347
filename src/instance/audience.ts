import type { Event } from '../contract/event.ts'

/** What a subscriber may and wants to see: one job, one batch, one project, or all. */
export type EventFilter = { job: string | null; batch?: string | null; project: string | null }

type Follower = { filter: EventFilter; expiresAtMs: number | null }

/** Subscribers by what they follow: an event meets those who see it, and costs nothing for those who do not. */
export class Audience<S extends Follower> {
  readonly #all = new Set<S>()
  readonly #byInterest = new Map<string, Set<S>>()
  /** No right ends before, in ms since the epoch. */
  #nextExpiryMs = Number.POSITIVE_INFINITY

  get size(): number {
    return this.#all.size
  }

  [Symbol.iterator](): Iterator<S> {
    return this.#all.values()
  }

  has(subscriber: S): boolean {
    return this.#all.has(subscriber)
  }

  add(subscriber: S): void {
    this.#all.add(subscriber)
    const interest = interestOf(subscriber.filter)
    const alike = this.#byInterest.get(interest) ?? new Set()
    this.#byInterest.set(interest, alike.add(subscriber))
    this.#nextExpiryMs = Math.min(this.#nextExpiryMs, subscriber.expiresAtMs ?? Number.POSITIVE_INFINITY)
  }

  delete(subscriber: S): void {
    if (!this.#all.delete(subscriber)) return
    const interest = interestOf(subscriber.filter)
    const alike = this.#byInterest.get(interest)
    alike?.delete(subscriber)
    if (alike?.size === 0) this.#byInterest.delete(interest)
  }

  /** Those who see this event. */
  of(event: Pick<Event, 'job' | 'batch'>, project: string | null): S[] {
    const interests = [EVERYTHING]
    if (project !== null) interests.push(`project ${project}`)
    if (event.job !== null) interests.push(`job ${event.job}`)
    if (event.batch) interests.push(`batch ${event.batch}`)
    return interests
      .flatMap((interest) => [...(this.#byInterest.get(interest) ?? [])])
      .filter(({ filter }) => sees(filter, event, project))
  }

  /** Those whose right has ended. */
  expired(now: number): S[] {
    if (now < this.#nextExpiryMs) return []
    const isOver = ({ expiresAtMs }: S) => expiresAtMs !== null && expiresAtMs <= now
    const left = [...this.#all].flatMap((one) => (isOver(one) ? [] : (one.expiresAtMs ?? [])))
    this.#nextExpiryMs = left.reduce((first, at) => Math.min(first, at), Number.POSITIVE_INFINITY)
    return [...this.#all].filter(isOver)
  }
}

const EVERYTHING = ''

/** The narrowest of what a filter asks for. */
const interestOf = ({ job, batch, project }: EventFilter): string => {
  if (job !== null) return `job ${job}`
  if (batch) return `batch ${batch}`
  return project === null ? EVERYTHING : `project ${project}`
}

const sees = (filter: EventFilter, event: Pick<Event, 'job' | 'batch'>, project: string | null): boolean =>
  (filter.job === null || filter.job === event.job) &&
  (!filter.batch || filter.batch === event.batch) &&
  (filter.project === null || filter.project === project)
