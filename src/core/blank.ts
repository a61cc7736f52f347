import { LIMITS } from '../limits.ts'

/**
 * Decoded pixels, row by row from the top left, 8 bits a sample. One channel is grey, two are grey and alpha, three are
 * RGB, four are RGBA; alpha is not premultiplied.
 */
export type Pixels = {
  width: number
  height: number
  channels: 1 | 2 | 3 | 4
  data: Uint8Array | Uint8ClampedArray
}

/** Pixels between two looks at whether the rest still matters. */
const STRIDE = 1024

/**
 * Whether a picture shows nothing: everything visible has one colour. That is so if no channel spreads over more than
 * `LIMITS.blankSpread` levels, which leaves room for the noise of a lossy encoder, or if the standard deviation over all
 * channels is below `LIMITS.blankDeviation` levels, which leaves room for a few stray pixels. Colours count as far as they
 * are visible, so a transparent picture is blank whatever lies under it. A thin line is no stray pixel: nothing is sampled,
 * every pixel counts, and the walk ends as soon as the picture cannot be blank any more, which is early in all but blank ones.
 */
export const isBlank = ({ width, height, channels, data }: Pixels): boolean => {
  const count = width * height
  const hasAlpha = channels === 2 || channels === 4
  const colours = hasAlpha ? channels - 1 : channels
  const first = new Float64Array(4)
  const low = new Float64Array(4).fill(255)
  const high = new Float64Array(4)
  const sums = new Float64Array(4)
  const squares = new Float64Array(4)
  for (let pixel = 0, at = 0; pixel < count; pixel += 1, at += channels) {
    const alpha = hasAlpha ? (data[at + colours] ?? 0) : 255
    for (let channel = 0; channel < channels; channel += 1) {
      const sample = data[at + channel] ?? 0
      const value = channel < colours ? (sample * alpha) / 255 : sample
      if (pixel === 0) first[channel] = value
      if (value < (low[channel] ?? 0)) low[channel] = value
      if (value > (high[channel] ?? 0)) high[channel] = value
      // Relative to the first pixel, so that little is lost where all are alike.
      const offset = value - (first[channel] ?? 0)
      sums[channel] = (sums[channel] ?? 0) + offset
      squares[channel] = (squares[channel] ?? 0) + offset * offset
    }
    // The sum of squared deviations only grows: what is too much of it now is too much for the whole picture.
    if (pixel % STRIDE === STRIDE - 1 && !spreadsLittle(low, high, channels)) {
      if (deviations(sums, squares, pixel + 1) >= LIMITS.blankDeviation ** 2 * count) return false
    }
  }
  return spreadsLittle(low, high, channels) || deviations(sums, squares, count) < LIMITS.blankDeviation ** 2 * count
}

const spreadsLittle = (low: Float64Array, high: Float64Array, channels: number): boolean => {
  for (let channel = 0; channel < channels; channel += 1) {
    if ((high[channel] ?? 0) - (low[channel] ?? 0) > LIMITS.blankSpread) return false
  }
  return true
}

/** The sum of squared deviations from the mean, over all channels. */
const deviations = (sums: Float64Array, squares: Float64Array, count: number): number => {
  let total = 0
  for (let channel = 0; channel < 4; channel += 1) {
    total += (squares[channel] ?? 0) - (sums[channel] ?? 0) ** 2 / count
  }
  return total
}
