/** Waits of one emulator, none of which outlives it. */
export function createTimers() {
  const waits = new Map<NodeJS.Timeout, () => void>()
  const deadlines = new Set<NodeJS.Timeout>()
  return {
    /** Resolves after that long, at once for 0, and never once the emulator is closed. */
    wait(durationMs: number): Promise<void> {
      if (durationMs <= 0) return Promise.resolve()
      return new Promise((resolve) => {
        const timer = setTimeout(() => {
          waits.delete(timer)
          resolve()
        }, durationMs)
        waits.set(timer, resolve)
      })
    },
    /** Calls back after that long, whatever `finishNow` says; never once closed. */
    later(durationMs: number, act: () => void): void {
      const timer = setTimeout(() => {
        deadlines.delete(timer)
        act()
      }, durationMs)
      deadlines.add(timer)
    },
    /** Ends every wait that runs now. */
    finishNow(): void {
      const waiting = [...waits]
      waits.clear()
      for (const [timer, resolve] of waiting) {
        clearTimeout(timer)
        resolve()
      }
    },
    clear(): void {
      for (const timer of [...waits.keys(), ...deadlines]) clearTimeout(timer)
      waits.clear()
      deadlines.clear()
    },
  }
}
