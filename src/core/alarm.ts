/** One alarm serves many clocks: the earliest time that anything is due, overdue ones included, or null. */
export const earliest = (...times: (number | null)[]): number | null =>
  times.reduce((least, time) => (time === null ? least : least === null ? time : Math.min(least, time)), null)
