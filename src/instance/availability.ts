import type { ImageInput } from '../contract/image.ts'
import type { PriceSnapshot } from '../contract/price.ts'
import { readyAt } from '../core/admission.ts'
import { passBreaker } from '../core/breaker.ts'
import type { Candidate } from '../core/choice.ts'
import { medianMs, successRate } from '../core/track-record.ts'
import { findModel } from '../providers/registry.ts'
import type { CredentialRow } from './admin-store.ts'
import type { Books } from './books.ts'
import { priceOf } from './pricing.ts'

/** Who could serve, from when, and how well: what choice and fallback are decided from. */

/** Credentials of a provider that may be used now, and if there is none, when the first may be again (null: never). */
export const usableCredentials = (
  books: Books,
  provider: string,
  now: number,
): { usable: CredentialRow[]; readyAtMs: number | null } => {
  const enabled =
    books.setups
      .get(provider)
      ?.credentials.filter((item) => item.enabled && item.weight > 0 && books.keyIds.has(item.key_id)) ?? []
  let readyAtMs: number | null = null
  const usable = enabled.filter((item) => {
    const passage = passBreaker(books.breaker(books.credentialName(provider, item.name)), now)
    // A probe under way ends soon, but nobody knows when.
    const readyAt = passage.passes ? now : (passage.untilMs ?? now + PROBE_MS)
    readyAtMs = Math.min(readyAtMs ?? readyAt, readyAt)
    return passage.passes
  })
  return { usable, readyAtMs: usable.length > 0 ? now : readyAtMs }
}

/** When a provider could be called as far as breakers and credentials go: null where it is off or has none that will ever do. */
export const providerReadyAt = (books: Books, provider: string, now: number): number | null => {
  if (!books.setups.get(provider)?.enabled) return null
  const credentials = usableCredentials(books, provider, now)
  if (credentials.readyAtMs === null) return null
  const passage = passBreaker(books.breaker(books.limiter(provider)), now)
  const breakerAt = passage.passes ? now : (passage.untilMs ?? now + PROBE_MS)
  return Math.max(credentials.readyAtMs, breakerAt)
}

/** When a model could be called, limits included. */
const modelReadyAt = (books: Books, name: string, tokens: number, now: number): number | null => {
  const providerAt = providerReadyAt(books, name.split('/')[0] ?? '', now)
  if (providerAt === null) return null
  return Math.max(providerAt, ...books.limiters(name).map((limiter) => readyAt(limiter, tokens, now)))
}

const PROBE_MS = 5_000

/** Those of the models that accept the input, as candidates with the prices at `startMs`, and why the others do not. */
export const candidatesFor = (
  books: Books,
  models: readonly string[],
  input: ImageInput,
  tokens: number,
  now: number,
  startMs = now,
): {
  candidates: Candidate[]
  prices: Record<string, PriceSnapshot>
  skipped: { model: string; reason: string; param: string | null }[]
} => {
  const candidates: Candidate[] = []
  const prices: Record<string, PriceSnapshot> = {}
  const skipped: { model: string; reason: string; param: string | null }[] = []
  for (const model of models) {
    const found = findModel(model)
    const refusal = found?.provider.refuses(found.card.model, input)
    if (!found || refusal) {
      skipped.push({ model, reason: refusal?.message ?? 'there is no such model', param: refusal?.param ?? null })
      continue
    }
    const record = books.record(model)
    const priced = priceOf(books, model, input, startMs)
    if (priced.price) prices[model] = priced.price
    candidates.push({
      model,
      readyAtMs: modelReadyAt(books, model, tokens, now),
      priceMicros: 'micros' in priced ? priced.micros : null,
      durationMs: medianMs(record) ?? found.card.typicalMs,
      successRate: successRate(record),
      qualityRank: found.card.qualityRank,
    })
  }
  return { candidates, prices, skipped }
}
