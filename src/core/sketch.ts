import { LIMITS } from '../limits.ts'

/**
 * Quantiles of durations that can be merged: a DDSketch (Masson, Rim and Lee, VLDB 2019). Bin i counts the values in
 * (γ^(i-1), γ^i] with γ = (1 + α) / (1 − α), so whatever stands in a bin is told with a relative error of at most α.
 *
 * Bins lie within one window of fixed width below the highest; what is lower is counted in the window's lowest bin. The
 * window follows from the highest bin alone, so sketches merge to the sketch of the union in any order. Its width spans a
 * ratio of 28,000, so what is told of a lower value is too high, and of no use but for the rank of the others.
 *
 * The state is changed in place: it is added to in every settlement.
 */
export type Sketch = {
  /** Values below one: told as zero. */
  low: number
  /** The highest bin; minus infinity where there is none. */
  top: number
  bins: Map<number, number>
}

/** The relative error, α: one per cent. */
export const SKETCH_ERROR = 0.01
const GAMMA = (1 + SKETCH_ERROR) / (1 - SKETCH_ERROR)
const LOG_GAMMA = Math.log(GAMMA)

export const emptySketch = (): Sketch => ({ low: 0, top: Number.NEGATIVE_INFINITY, bins: new Map() })

/** A duration in ms. A negative one, of a clock that was set back, counts as zero; what is no number is not counted. */
export const addToSketch = (sketch: Sketch, value: number): void => {
  if (Number.isNaN(value)) return
  if (value < 1) sketch.low += 1
  else put(sketch, Math.ceil(Math.log(Math.min(value, Number.MAX_SAFE_INTEGER)) / LOG_GAMMA), 1)
}

/** Adds what `other` has seen, which stays as it is. */
export const mergeSketch = (sketch: Sketch, other: Sketch): void => {
  sketch.low += other.low
  for (const [bin, count] of other.bins) put(sketch, bin, count)
}

export const sketchCount = ({ low, bins }: Sketch): number => {
  let sum = low
  for (const count of bins.values()) sum += count
  return sum
}

/** The value at rank ⌊q (n − 1)⌋ of n, `q` from 0 to 1, or null where nothing was seen. */
export const quantile = (sketch: Sketch, q: number): number | null => {
  const count = sketchCount(sketch)
  if (count === 0) return null
  const rank = Math.floor(Math.min(1, Math.max(0, q)) * (count - 1))
  let seen = sketch.low
  if (rank < seen) return 0
  for (const bin of sortedBins(sketch)) {
    seen += sketch.bins.get(bin) ?? 0
    if (rank < seen) return (2 * GAMMA ** bin) / (GAMMA + 1)
  }
  throw new Error('a rank below the count is in no bin')
}

/** As a flat list for JSON: the low ones, then per bin, in order, its distance from the one before and its count. */
export const packSketch = (sketch: Sketch): number[] => {
  const packed = [sketch.low]
  let before = 0
  for (const bin of sortedBins(sketch)) {
    packed.push(bin - before, sketch.bins.get(bin) ?? 0)
    before = bin
  }
  return packed
}

/** Throws where the list is none of `packSketch`. */
export const unpackSketch = (packed: readonly number[]): Sketch => {
  const isWhole = packed.every((item) => Number.isSafeInteger(item) && item >= 0)
  if (packed.length % 2 === 0 || !isWhole) throw new Error('this is no packed sketch')
  const sketch: Sketch = { ...emptySketch(), low: packed[0] ?? 0 }
  for (let i = 1, bin = 0; i < packed.length; i += 2) {
    bin += packed[i] ?? 0
    sketch.bins.set(bin, (sketch.bins.get(bin) ?? 0) + (packed[i + 1] ?? 0))
    sketch.top = bin
  }
  // Packed where more bins were kept.
  raise(sketch, sketch.top)
  return sketch
}

const put = (sketch: Sketch, bin: number, count: number): void => {
  if (bin > sketch.top) raise(sketch, bin)
  const within = Math.max(bin, lowestOf(sketch))
  sketch.bins.set(within, (sketch.bins.get(within) ?? 0) + count)
}

/** The window moves up, and what is then below it goes into its lowest bin. */
const raise = (sketch: Sketch, top: number): void => {
  sketch.top = top
  const lowest = lowestOf(sketch)
  let below = 0
  for (const [bin, count] of sketch.bins) {
    if (bin >= lowest) continue
    below += count
    sketch.bins.delete(bin)
  }
  if (below > 0) sketch.bins.set(lowest, (sketch.bins.get(lowest) ?? 0) + below)
}

const lowestOf = ({ top }: Sketch): number => top - LIMITS.sketchBins + 1

const sortedBins = ({ bins }: Sketch): Int32Array => Int32Array.from(bins.keys()).sort()
