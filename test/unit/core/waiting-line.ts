import {
  emptyOrder,
  joinLine,
  leaveLine,
  nextClass,
  type QueueOrder,
  restoreTags,
  serveJob,
  tagJob,
  type WaitingClass,
} from '../../../src/core/fair-queue.ts'

export type Waiting = { id: number; project: string; priority: number; tag: number; sinceMs: number }

/** One provider's queue in memory, served as the dispatcher serves it: the class first, then the lowest tag. */
export class WaitingLine {
  order: QueueOrder = emptyOrder()
  /** Per class and project in the order of arrival, so that the first of each has its lowest tag. */
  readonly #classes = new Map<number, Map<string, Waiting[]>>()
  readonly #weights: Record<string, number>
  #lastId = 0

  constructor(weights: Record<string, number> = {}) {
    this.#weights = weights
  }

  add(project: string, priority: number, now: number): Waiting {
    const tag = tagJob(this.order, priority, project, this.#weights[project] ?? 1)
    joinLine(this.order, priority, project)
    this.#lastId += 1
    const job = { id: this.#lastId, project, priority, tag, sinceMs: now }
    const projects = this.#classes.get(priority) ?? new Map<string, Waiting[]>()
    this.#classes.set(priority, projects.set(project, [...(projects.get(project) ?? []), job]))
    return job
  }

  addMany(count: number, project: string, priority: number, now: number): void {
    const projects = this.#classes.get(priority) ?? new Map<string, Waiting[]>()
    const jobs = projects.get(project) ?? []
    this.#classes.set(priority, projects.set(project, jobs))
    for (let i = 0; i < count; i += 1) {
      this.#lastId += 1
      const tag = tagJob(this.order, priority, project, this.#weights[project] ?? 1)
      joinLine(this.order, priority, project)
      jobs.push({ id: this.#lastId, project, priority, tag, sinceMs: now })
    }
  }

  serve(now: number): Waiting | null {
    const priority = nextClass(this.order, this.#waitingClasses(), now)
    if (priority === null) return null
    let best: Waiting | null = null
    for (const [head] of this.#classes.get(priority)?.values() ?? []) {
      if (head && (!best || head.tag < best.tag || (head.tag === best.tag && head.id < best.id))) best = head
    }
    if (!best) return null
    this.#classes.get(priority)?.get(best.project)?.shift()
    leaveLine(this.order, priority, best.project, true)
    serveJob(this.order, priority, best.project, best.tag)
    return best
  }

  /** All that waits of a project leaves without a turn. */
  cancel(project: string): void {
    for (const [priority, projects] of this.#classes) {
      for (const _ of projects.get(project) ?? []) leaveLine(this.order, priority, project, false)
      projects.delete(project)
    }
  }

  waitingOf(project: string): number {
    let sum = 0
    for (const projects of this.#classes.values()) sum += projects.get(project)?.length ?? 0
    return sum
  }

  /** As after a restart: the order is made anew from what waits. */
  restart(): void {
    this.order = emptyOrder()
    for (const [priority, projects] of this.#classes) {
      for (const [project, jobs] of projects) {
        const [first] = jobs
        const last = jobs.at(-1)
        if (!first || !last) continue
        restoreTags(this.order, priority, project, this.#weights[project] ?? 1, {
          least: first.tag,
          greatest: last.tag,
          waiting: jobs.length,
        })
      }
    }
  }

  #waitingClasses(): WaitingClass[] {
    return [...this.#classes].flatMap(([priority, projects]) => {
      const oldestAtMs = Math.min(...[...projects.values()].map(([head]) => head?.sinceMs ?? Number.POSITIVE_INFINITY))
      return Number.isFinite(oldestAtMs) ? [{ priority, oldestAtMs }] : []
    })
  }
}
