import { LIMITS } from '../limits.ts'

type Operation = { run(): void; settle(): void; fail(error: unknown): void; isPatient: boolean }

/**
 * Calls that arrive together are applied together: one transaction, one commit, one fsync. A call's promise resolves
 * when its operation was applied; the platform's output gate then holds the answer until the commit is on disk.
 *
 * A commit costs more than most of what is in it, so where calls arrive in quick succession a group waits a moment for
 * more of them. One that comes alone waits for nobody. What nobody waits for is patient: it goes with the next that is not,
 * and by itself only after a while.
 *
 * `transact` runs what it is given in one transaction and throws only if all of it was rolled back; then each operation
 * is tried in a transaction of its own, so that a bad one does not fail its neighbours.
 */
export class GroupCommit {
  readonly #transact: (operations: (() => void)[]) => void
  readonly #onDisk: () => Promise<void>
  readonly #now: () => number
  #waiting: Operation[] = []
  #scheduled = false
  #committing = false
  /** Ends the patience of those that are patient; null where nobody is, or somebody else goes first. */
  #patience: ReturnType<typeof setTimeout> | null = null
  /** Ends the wait for more; null where there is none. */
  #lingering: ReturnType<typeof setTimeout> | null = null
  #lingers = false
  /** Operations of a group that are not patient, averaged over the last dozen or so since it began or ceased to linger. */
  #usualSize = ALONE
  #flushedAtMs = Number.NEGATIVE_INFINITY

  /** `onDisk` resolves when everything written so far is durable. */
  constructor(transact: (operations: (() => void)[]) => void, onDisk: () => Promise<void>, now: () => number) {
    this.#transact = transact
    this.#onDisk = onDisk
    this.#now = now
  }

  apply<T>(operation: () => T, { isPatient = false } = {}): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    // Kept until the transaction is through: the result of a rolled back one must not be told.
    const results: T[] = []
    this.#waiting.push({
      run: () => results.splice(0, 1, operation()),
      settle: () => results.forEach((result) => void resolve(result)),
      fail: reject,
      isPatient,
    })
    if (isPatient) this.#bePatient()
    else this.#schedule()
    return promise
  }

  /** Whoever looks is shown what was said before: what is patient is applied now. */
  hurry(): void {
    if (this.#patience !== null && !this.#scheduled) this.#flush()
  }

  #bePatient(): void {
    if (this.#committing || this.#scheduled) return
    this.#patience ??= setTimeout(() => {
      this.#patience = null
      this.#schedule()
    }, LIMITS.groupCommitPatienceMs)
  }

  /** What arrives while something is on its way to the disk makes the next group. */
  #schedule(): void {
    if (this.#committing) return
    const isFull = this.#waiting.length >= LIMITS.groupCommitOperations
    if (this.#lingering !== null && isFull) {
      clearTimeout(this.#lingering)
      this.#lingering = null
    } else if (this.#scheduled) return
    this.#scheduled = true
    if (this.#mayLinger() && !isFull) this.#lingering = setTimeout(() => this.#flush(), LIMITS.groupCommitLingerMs)
    else queueMicrotask(() => this.#flush())
  }

  /** What was usual before a pause says nothing about now. */
  #mayLinger(): boolean {
    if (this.#now() - this.#flushedAtMs > FORGOTTEN_AFTER_MS) this.#linger(false)
    return this.#lingers
  }

  #flush(): void {
    this.#scheduled = false
    this.#lingering = null
    if (this.#patience !== null) clearTimeout(this.#patience)
    this.#patience = null
    this.#flushedAtMs = this.#now()
    const group = this.#waiting.splice(0, LIMITS.groupCommitOperations)
    this.#learn(group.filter(({ isPatient }) => !isPatient).length)
    if (!this.#try(group)) for (const operation of group) this.#try([operation], operation.fail)
    this.#committing = true
    // A disk that fails breaks the actor; here it only ends the wait.
    void this.#onDisk()
      .catch(() => undefined)
      .then(() => {
        this.#committing = false
        if (this.#waiting.some(({ isPatient }) => !isPatient)) this.#schedule()
        else if (this.#waiting.length > 0) this.#bePatient()
      })
  }

  #learn(size: number): void {
    this.#usualSize += (size - this.#usualSize) / AVERAGED_OVER
    if (this.#lingers && this.#usualSize < WORTH_GOING_ON) this.#linger(false)
    else if (!this.#lingers && this.#usualSize >= WORTH_BEGINNING) this.#linger(true)
  }

  /** Groups of the other kind are no measure: whoever waits makes larger ones. */
  #linger(lingers: boolean): void {
    this.#lingers = lingers
    this.#usualSize = lingers ? 2 * WORTH_GOING_ON : ALONE
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

const AVERAGED_OVER = 12
const ALONE = 1
const WORTH_BEGINNING = 2
const WORTH_GOING_ON = 4
const FORGOTTEN_AFTER_MS = 100
