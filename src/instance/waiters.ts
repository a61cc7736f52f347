import { type Event, endsJob } from '../contract/event.ts'

/** Requests that hold until a job ends, such as `Prefer: wait`. In memory: a client whose wait is lost asks again. */
export class Waiters {
  readonly #waiting = new Map<string, Set<() => void>>()

  /** Resolves when the job ends or the time is over, whichever is first. */
  until(job: string, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        const waiting = this.#waiting.get(job)
        waiting?.delete(done)
        if (waiting?.size === 0) this.#waiting.delete(job)
        resolve()
      }
      const timer = setTimeout(done, ms)
      const waiting = this.#waiting.get(job) ?? new Set()
      this.#waiting.set(job, waiting.add(done))
    })
  }

  /** The instance is being deleted: nobody waits for anything any more. */
  releaseAll(): void {
    for (const waiting of [...this.#waiting.values()]) for (const done of [...waiting]) done()
  }

  told(event: Event): void {
    if (event.job === null || !endsJob(event.type)) return
    for (const done of this.#waiting.get(event.job) ?? []) done()
  }
}
