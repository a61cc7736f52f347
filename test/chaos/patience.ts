export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Repeats what a crash may interrupt until it gets an answer. Bounded: what never answers is an error. */
export const persist = async <T>(act: () => Promise<T>, withinMs = 60_000): Promise<T> => {
  const end = Date.now() + withinMs
  for (;;) {
    try {
      return await act()
    } catch (error) {
      // `fetch` throws a TypeError where there was no answer; anything else is one.
      if (!(error instanceof TypeError) || Date.now() > end) throw error
      await pause(100)
    }
  }
}

/** Waits for a condition that something else brings about. */
export const until = async (holds: () => boolean, withinMs: number, what: string): Promise<void> => {
  const end = Date.now() + withinMs
  while (!holds()) {
    if (Date.now() > end) throw new Error(`${what}: not within ${withinMs} ms`)
    await pause(50)
  }
}
