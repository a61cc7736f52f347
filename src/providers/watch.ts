/**
 * Time and the caller's end as one signal, for a call that goes through several waits of different length. One timer serves
 * them all: it is set anew only when it rings too early, since most waits are over long before.
 */
export type Watch = {
  readonly signal: AbortSignal
  /** Why it ended: our own signal, or a wait that was too long. */
  cause(): 'aborted' | 'timeout' | null
  /** Something is awaited, for so long at most. */
  expect(waitMs: number): void
  /** Nothing is awaited: the reader is not ready for more. */
  rest(): void
  clear(): void
}

export const createWatch = (callers: AbortSignal, now: () => number): Watch => {
  const controller = new AbortController()
  let cause: 'aborted' | 'timeout' | null = null
  let dueAtMs: number | null = null
  let timer: ReturnType<typeof setTimeout> | null = null
  let ringsAtMs = 0
  const end = (why: 'aborted' | 'timeout') => {
    cause ??= why
    controller.abort(new Error(why))
  }
  const set = (atMs: number) => {
    if (timer !== null) clearTimeout(timer)
    ringsAtMs = atMs
    timer = setTimeout(ring, Math.max(0, atMs - now()))
  }
  const ring = () => {
    timer = null
    if (dueAtMs === null) return
    if (now() >= dueAtMs) end('timeout')
    else set(dueAtMs)
  }
  const onAbort = () => end('aborted')
  if (callers.aborted) onAbort()
  else callers.addEventListener('abort', onAbort, { once: true })
  return {
    signal: controller.signal,
    cause: () => cause,
    expect: (waitMs) => {
      dueAtMs = now() + waitMs
      if (timer === null || ringsAtMs > dueAtMs) set(dueAtMs)
    },
    rest: () => {
      dueAtMs = null
    },
    clear: () => {
      dueAtMs = null
      if (timer !== null) clearTimeout(timer)
      timer = null
      callers.removeEventListener('abort', onAbort)
    },
  }
}
