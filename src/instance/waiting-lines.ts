import type { WaitingClass } from '../core/fair-queue.ts'
import type { Desk } from './desk.ts'
import type { JobRow } from './job-rows.ts'

/** What is read of a line and not yet passed, and behind whom to read on. */
type Line = { rows: JobRow[]; last: JobRow | null }

/**
 * The waiting jobs of one provider during one turn: a line for each model and priority, read in pieces and only where it is
 * asked for. Whom the turn has passed, started or not, it does not meet again.
 */
export class WaitingLines {
  readonly #desk: Desk
  readonly #provider: string
  readonly #piece: number
  readonly #lines = new Map<string, Line>()
  readonly #closed = new Set<string>()

  /** `piece`: rows read at once. */
  constructor(desk: Desk, provider: string, piece: number) {
    this.#desk = desk
    this.#provider = provider
    this.#piece = piece
  }

  /** Priorities at which somebody may still wait. What waits for a model that is closed lifts nobody else. */
  classes(): WaitingClass[] {
    const { queues } = this.#desk.books
    const oldest = new Map<number, number>()
    for (const [model, counts] of queues.ready(this.#provider)) {
      for (const priority of counts.keys()) {
        if (!this.#isOpen(model, priority)) continue
        const atMs = queues.oldestAtMs(model, priority)
        oldest.set(priority, Math.min(atMs, oldest.get(priority) ?? atMs))
      }
    }
    return [...oldest].map(([priority, oldestAtMs]) => ({ priority, oldestAtMs }))
  }

  /** The job of a class with the lowest tag; null where all were passed. */
  first(priority: number): JobRow | null {
    let best: JobRow | null = null
    for (const [model, counts] of this.#desk.books.queues.ready(this.#provider)) {
      const waiting = counts.get(priority)
      if (waiting === undefined || !this.#isOpen(model, priority)) continue
      const head = this.#head(model, priority, waiting)
      if (!head) this.#closed.add(keyOf(model, priority))
      else if (!best || head.tag < best.tag || (head.tag === best.tag && head.id < best.id)) best = head
    }
    return best
  }

  /** The head of its line goes: whoever stands behind it is the first now. */
  pass({ model, priority }: JobRow): void {
    const line = this.#lines.get(keyOf(model, priority))
    if (line) line.last = line.rows.shift() ?? line.last
  }

  /** Nobody of this model can start in this turn. */
  close(model: string): void {
    this.#closed.add(model)
  }

  #isOpen(model: string, priority: number): boolean {
    return !this.#closed.has(model) && !this.#closed.has(keyOf(model, priority))
  }

  #head(model: string, priority: number, waiting: number): JobRow | null {
    const key = keyOf(model, priority)
    const line = this.#lines.get(key) ?? { rows: [], last: null }
    this.#lines.set(key, line)
    if (line.rows.length === 0) line.rows = this.#desk.jobs.heads(model, priority, waiting, this.#piece, line.last)
    return line.rows[0] ?? null
  }
}

const keyOf = (model: string, priority: number): string => `${model} ${priority}`
