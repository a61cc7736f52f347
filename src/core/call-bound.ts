import type { CallBound } from '../contract/foreground-rpc.ts'
import type { Price, Rates } from '../contract/price.ts'
import { estimateMicros } from './cost.ts'

/**
 * What a call of text can cost at most by a price, and how much of an answer an amount of money buys. Money is integer
 * micros. The dearest of everything that may happen is taken: all of the prompt written to the cache, the tier that costs
 * more, every token of the answer a thought.
 */

/** What an instance holds for a call of one model: at least, and where all is held that it could cost. Kept with the job. */
export type ModelHold = { micros: number; mostMicros: number; bound: CallBound }

/** Null where the price has no rate for such a call. */
export const modelHoldOf = (price: Price, bound: CallBound): ModelHold | null => {
  const micros = boundMicros(price, bound, bound.outputTokens)
  const mostMicros = boundMicros(price, bound, bound.outputTokensMax)
  return micros === null || mostMicros === null ? null : { micros, mostMicros, bound }
}

/** With an answer of so many tokens in all. */
export const boundMicros = (price: Price, bound: CallBound, outputTokens: number): number | null => {
  const { cachedTokens, tierFactor } = bound
  const inputTokens = bound.inputTokens + cachedTokens
  const usage = { input_tokens: inputTokens, cached_input_tokens: cachedTokens, output_tokens: outputTokens }
  const reached = price.tiers.filter(({ above_input_tokens: above }) => inputTokens > above)
  let most = 0
  for (const rates of [price.rates, ...reached.map((tier) => ({ ...price.rates, ...tier.rates }))]) {
    const micros = estimateMicros({ ...price, tiers: [], rates: dearest(rates, bound) }, usage)
    if (micros === null) return null
    most = Math.max(most, micros)
  }
  return Math.ceil(most * tierFactor)
}

/** What writing to a cache costs where a list has no rate for it, in times of the input's: as Anthropic and OpenAI have it. */
const SHORT_WRITE = 1.25
const LONG_WRITE = 2

/** Each token at the highest of the rates that may be asked for it; sound and pictures are not made here. */
const dearest = (rates: Rates, { writes }: Pick<CallBound, 'writes'>): Rates => {
  const { input_per_mtok: input, output_per_mtok: output } = rates
  const kept: Rates = { ...rates }
  const short = rates.cache_write_per_mtok ?? (writes === 'listed' ? 0 : times(input, SHORT_WRITE))
  const long = rates.cache_write_1h_per_mtok ?? times(input, LONG_WRITE)
  const written = writes === 'none' ? [] : writes === 'long' ? [short, long] : [short]
  if (input !== undefined) {
    const others = [rates.cached_input_per_mtok, rates.input_image_per_mtok, rates.cached_input_image_per_mtok]
    kept.input_per_mtok = Math.max(input, ...[...others, ...written].map((rate) => rate ?? 0))
    kept.cached_input_per_mtok = Math.max(rates.cached_input_per_mtok ?? input, rates.cached_input_image_per_mtok ?? 0)
  }
  if (output !== undefined) kept.output_per_mtok = Math.max(output, rates.reasoning_per_mtok ?? 0)
  return kept
}

/** As exact as rates are written: a millionth of a dollar per million tokens. */
const times = (rate: number | undefined, factor: number): number | undefined =>
  rate === undefined ? undefined : Math.ceil(rate * factor * 1_000_000) / 1_000_000

/**
 * Tokens that each choice may have at most so that the call costs no more than is held; null where all that the model could
 * write is paid for. Never below what is held for at least.
 */
export const outputLimitOf = (price: Price, { bound, mostMicros }: ModelHold, heldMicros: number): number | null => {
  if (mostMicros <= heldMicros) return null
  let [least, above] = [bound.outputTokens, bound.outputTokensMax]
  while (above - least > 1) {
    const middle = Math.floor((least + above) / 2)
    if ((boundMicros(price, bound, middle) ?? Number.POSITIVE_INFINITY) <= heldMicros) least = middle
    else above = middle
  }
  return Math.max(1, Math.floor(least / bound.choices))
}
