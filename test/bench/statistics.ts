/** Numbers of several rounds, and how they are told. */

export const median = (values: readonly number[]): number => quantile(values, 0.5)

export const quantile = (values: readonly number[], share: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  if (sorted.length === 0) return Number.NaN
  const at = (sorted.length - 1) * share
  const below = sorted[Math.floor(at)] ?? Number.NaN
  const above = sorted[Math.ceil(at)] ?? Number.NaN
  return below + (above - below) * (at - Math.floor(at))
}

/** Half the distance between the best and the worst round, in per cent of the median. */
const spread = (values: readonly number[]): number =>
  (50 * (Math.max(...values) - Math.min(...values))) / Math.max(median(values), 1e-9)

/** `1,234 ±5%`; one round has no spread. */
export const withSpread = (values: readonly number[]): string =>
  values.length < 2 ? number(median(values)) : `${number(median(values))} ±${Math.round(spread(values))}%`

export const number = (value: number, digits = 0): string =>
  Number.isFinite(value)
    ? value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
    : '-'

export const ratio = (value: number, to: number): string => (to > 0 ? `${(value / to).toFixed(2)}x` : '-')

/** Mean of the ratios of what belongs together, and its standard error: `0.91x ±0.01`. */
export const ratioWithError = (values: readonly number[], to: readonly number[]): string => {
  const ratios = values.map((value, round) => value / (to[round] ?? Number.NaN))
  const mean = ratios.reduce((sum, one) => sum + one, 0) / ratios.length
  const variance = ratios.reduce((sum, one) => sum + (one - mean) ** 2, 0) / Math.max(1, ratios.length - 1)
  const error = Math.sqrt(variance / ratios.length)
  return ratios.length < 2 ? ratio(mean, 1) : `${ratio(mean, 1)} ±${error.toFixed(2)}`
}

/** Columns by the width of what they hold; the first is left aligned, the others right. */
export const table = (rows: readonly (readonly string[])[]): string => {
  const widths = rows.reduce<number[]>((seen, row) => {
    row.forEach((cell, i) => {
      seen[i] = Math.max(seen[i] ?? 0, cell.length)
    })
    return seen
  }, [])
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ')
  const [head = [], ...rest] = rows
  return [line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...rest.map(line)].join('\n')
}
