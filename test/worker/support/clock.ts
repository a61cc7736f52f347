import { vi } from 'vitest'

/** Time for tests: a clock that can be put forward while it runs on, and waiting for what happens instead of sleeping. */

/** Alarms keep ringing by the real clock: `runDurableObjectAlarm` rings them by hand. */
export const movableClock = () => {
  const real = Date.now.bind(Date)
  let ahead = 0
  let frozenAt: number | null = null
  vi.spyOn(Date, 'now').mockImplementation(() => frozenAt ?? real() + ahead)
  return {
    advance(ms: number): void {
      if (frozenAt === null) ahead += ms
      else frozenAt += ms
    },
    /** Stands still from now on; only `advance` moves it. */
    freeze(): number {
      frozenAt ??= real() + ahead
      return frozenAt
    },
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Asks until there is an answer that is neither false nor null, and gives it; fails after `boundMs`. */
export const eventually = async <T>(
  what: string,
  ask: () => T | Promise<T>,
  boundMs = 4_500,
): Promise<Exclude<T, false | null | undefined>> => {
  const until = performance.now() + boundMs
  for (;;) {
    const answer = await ask()
    if (answer !== false && answer !== null && answer !== undefined) {
      return answer as Exclude<T, false | null | undefined>
    }
    if (performance.now() > until) throw new Error(`it never happened: ${what}`)
    await pause(5)
  }
}
