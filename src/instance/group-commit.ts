import { LIMITS } from '../limits.ts'

type Operation = { run(): void; settle(): void; fail(error: unknown): void }

/**
 * Calls that arrive together are applied together: one transaction, one commit, one fsync. A call's promise resolves
 * when its operation was applied; the platform's output gate then holds the answer until the commit is on disk.
 *
 * `transact` runs what it is given in one transaction and throws only if all of it was rolled back; then each operation
 * is tried in a transaction of its own, so that a bad one does not fail its neighbours.
 */
export class GroupCommit {
  readonly #transact: (operations: (() => void)[]) => void
  readonly #onDisk: () => Promise<void>
  #waiting: Operation[] = []
  #scheduled = false
  #committing = false

  /** `onDisk` resolves when everything written so far is durable. */
  constructor(transact: (operations: (() => void)[]) => void, onDisk: () => Promise<void>) {
    this.#transact = transact
    this.#onDisk = onDisk
  }

  apply<T>(operation: () => T): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    // Kept until the transaction is through: the result of a rolled back one must not be told.
    const results: T[] = []
    this.#waiting.push({
      run: () => results.splice(0, 1, operation()),
      settle: () => results.forEach((result) => void resolve(result)),
      fail: reject,
    })
    this.#schedule()
    return promise
  }

  /** At once where nothing is on its way to the disk; else what arrives meanwhile makes the next group. */
  #schedule(): void {
    if (this.#scheduled || this.#committing) return
    this.#scheduled = true
    queueMicrotask(() => this.#flush())
  }

  #flush(): void {
    this.#scheduled = false
    const group = this.#waiting.splice(0, LIMITS.groupCommitOperations)
    if (!this.#try(group)) for (const operation of group) this.#try([operation], operation.fail)
    this.#committing = true
    // A disk that fails breaks the actor; here it only ends the wait.
    void this.#onDisk()
      .catch(() => undefined)
      .then(() => {
        this.#committing = false
        if (this.#waiting.length > 0) this.#schedule()
      })
  }

  #try(group: Operation[], fail: (error: unknown) => void = () => undefined): boolean {
    try {
      this.#transact(group.map((operation) => operation.run))
      for (const operation of group) operation.settle()
      return true
    } catch (error) {
      fail(error)
      return false
    }
  }
}
