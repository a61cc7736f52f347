import { fault } from '../contract/fault.ts'
import { earliest } from '../core/alarm.ts'
import { setBackMs } from '../core/clock.ts'
import { projectOf } from '../core/ledger.ts'
import { AttemptNews } from './attempt-news.ts'
import { Credentials } from './credentials.ts'
import type { Desk } from './desk.ts'
import { Dispatcher } from './dispatcher.ts'
import type { JobRow, MoneyOfRow, NewJob } from './job-rows.ts'
import { logUnreadable } from './log.ts'
import { Reroutes } from './reroutes.ts'
import { type Effects, Transitions } from './transitions.ts'

/**
 * Decides what runs next, with the pure core; what follows news of an attempt is decided by `attempts`. Every method runs
 * inside the caller's transaction; what it asks the world to do is handed over after the commit.
 */
export class Scheduler {
  readonly #desk: Desk
  readonly #transitions: Transitions
  readonly #dispatcher: Dispatcher
  readonly credentials: Credentials
  readonly attempts: AttemptNews
  readonly #reroutes: Reroutes
  /** When the last turn was. */
  #latestMs = 0

  constructor(desk: Desk) {
    this.#desk = desk
    this.#transitions = new Transitions(desk)
    this.credentials = new Credentials(desk, (type, data, requestId) =>
      this.#transitions.announce(type, data, requestId),
    )
    this.#dispatcher = new Dispatcher(desk, this.#transitions, this.credentials)
    this.attempts = new AttemptNews(desk, this.#transitions, this.credentials)
    this.#reroutes = new Reroutes(desk, this.#transitions)
  }

  /** A transaction was rolled back: what was offered in it was not. */
  reload(): void {
    this.#reroutes.reload()
  }

  takeEffects(): Effects {
    return this.#transitions.takeEffects()
  }

  submit(job: NewJob, money: MoneyOfRow): void {
    this.#transitions.insert(job, money)
    this.#dispatcher.startAtOnce(job.id, this.#desk.ambient.now())
  }

  /** False where the job had already ended. */
  cancel(row: JobRow): boolean {
    return this.#transitions.apply(row, { type: 'cancel' })
  }

  /** A failed job runs again, from the back of the queue. False where it is not a failed one. */
  replay(row: JobRow, model: string, resume: string | null): boolean {
    return this.#transitions.apply(row, { type: 'replay', model, resume }, { replay: row.replays + 1 })
  }

  /** Hands out once more the attempt on the line that runs: whoever was to drive it never heard of it. */
  reopen(job: string): void {
    const row = this.#desk.jobs.findRunning(job)
    const last = this.#desk.jobs.attempts(job).at(-1)
    const credential = row && last ? this.credentials.findOwner(row.provider, last.credential) : null
    if (row && credential) this.#dispatcher.reopen(row, credential)
  }

  /**
   * One turn: what is due comes back, what is past its deadline ends, jobs of a failed provider are offered to others, and
   * every provider with room gets the jobs whose turn it is. Returns when the actor must wake again, or null.
   */
  turn(): number | null {
    const { jobs, books, accounts, ambient } = this.#desk
    const now = ambient.now()
    const backMs = setBackMs(this.#latestMs, now)
    if (backMs > 0) jobs.setBack(backMs)
    this.#latestMs = now
    const due = jobs.due(now)
    for (const row of due) this.#transitions.apply(row, { type: 'due' })
    for (const row of jobs.overdue(now)) this.#transitions.apply(row, { type: 'deadline' })
    let wakeAt = earliest(accounts.lines.wake(accounts, jobs, this.#transitions, now), this.credentials.turn(now))
    for (const { id } of due) this.#reroutes.comeLate(id, now)
    for (const provider of books.setups.keys()) wakeAt = earliest(wakeAt, this.#reroutes.offer(provider, now))
    for (const provider of books.setups.keys()) wakeAt = earliest(wakeAt, this.#dispatcher.claim(provider, now))
    // Asked last: who was to begin may have been put off.
    wakeAt = earliest(wakeAt, accounts.lines.nextWindow(accounts, now), jobs.nextDue(), jobs.nextDeadline())
    jobs.careful = false
    for (const { scope, data } of accounts.flush()) {
      this.#transitions.announce('budget.alert', data, '', projectOf(scope))
    }
    this.#desk.usage.flush()
    return this.#setAside(now) ? now : wakeAt
  }

  /** Rows that this turn could not read leave its way; the books, in which they stood, are made anew. True where one did. */
  #setAside(now: number): boolean {
    const { instance, jobs, events, admin, books, accounts } = this.#desk
    let changed = false
    for (const { id, columns, isNew } of jobs.unreadable.take()) {
      if (isNew) logUnreadable(instance, id, columns)
      const aside = jobs.setAside(id, UNREADABLE, now)
      if (aside !== null && aside !== 'put off') this.#transitions.ended(aside, UNREADABLE)
      changed ||= aside !== null
    }
    if (!changed) return false
    // What this transaction has done so far is written before the mirrors are made anew from what is written.
    jobs.flush()
    events.flush()
    books.reload(jobs, events, admin)
    accounts.reload()
    return true
  }
}

/** Honest for a job that ran as for one that never did: its record is all that is known of it. */
const UNREADABLE = fault('outcome_unknown', 'The record of the job cannot be read: what became of it is not known.')
