import { providerIdOf } from '../contract/ids.ts'
import type { ImageInput } from '../contract/image.ts'
import type { PriceSnapshot } from '../contract/price.ts'
import { type Limiter, paceOf, readyAt, requestQuota, slotsOf } from '../core/admission.ts'
import { earliest } from '../core/alarm.ts'
import { passBreaker } from '../core/breaker.ts'
import type { Candidate } from '../core/choice.ts'
import { chooseCredential } from '../core/credential.ts'
import { medianMs, successRate } from '../core/track-record.ts'
import { findModel } from '../providers/registry.ts'
import { findChatModel, findEmbedModel } from '../providers/text-registry.ts'
import type { Books } from './books.ts'
import type { CredentialRow } from './credential-store.ts'
import { priceOf } from './pricing.ts'

/** Who could serve, from when, and how well: what choice and fallback are decided from. */

/**
 * Credentials of a provider that may be used now, as far as breakers go, and if there is none, when the first may be again
 * (null: never). `nextMs` is when the first of those that rest may be used again, whatever the others do.
 */
export const usableCredentials = (
  books: Books,
  provider: string,
  now: number,
): { usable: CredentialRow[]; readyAtMs: number | null; nextMs: number | null } => {
  let nextMs: number | null = null
  const usable = inService(books, provider).filter((item) => {
    const passage = passBreaker(books.breaker(books.credentialName(provider, item.name)), now)
    // A probe under way ends soon, but nobody knows when.
    if (!passage.passes) nextMs = earliest(nextMs, passage.untilMs ?? now + PROBE_MS)
    return passage.passes
  })
  return { usable, readyAtMs: usable.length > 0 ? now : nextMs, nextMs }
}

/**
 * Credentials that the operator has put to use and that can be opened, whatever their breakers say. Where calls need
 * none there is nothing to open, and what stands for it.
 */
export const inService = (books: Books, provider: string): CredentialRow[] => {
  const setup = books.setups.get(provider)
  if (setup?.standIn) return [setup.standIn]
  return setup?.credentials.filter((item) => item.enabled && item.weight > 0 && books.keyIds.has(item.key_id)) ?? []
}

type Picked =
  | { credential: CredentialRow; limiters: Limiter[] }
  | {
      credential: null
      waitingFor: 'breaker' | 'concurrency' | 'provider_rate'
      limit: string
      untilMs: number | null
      /** Calls of other models may have room where this one has none. */
      ofModel: boolean
    }

/** The model of a call, and what it counts against limits in tokens. */
type CallOf = { model: string; tokens: number }

/** The credential for a call, or what the first that could serve it waits for. `random` is 0…1. */
export const pickCredential = (books: Books, call: CallOf, now: number, random: number): Picked => {
  const provider = providerIdOf(call.model)
  const { usable, nextMs } = usableCredentials(books, provider, now)
  const choice = chooseCredential(contenders(books, call.model, usable), call.tokens, now, random)
  if (choice?.chosen) return { credential: choice.chosen.row, limiters: limitersOf(choice.chosen) }
  if (!choice) {
    const limit = `${books.limiter(provider)}:credential`
    return { credential: null, waitingFor: 'breaker', limit, untilMs: nextMs, ofModel: false }
  }
  const { waitingFor, limit, untilMs, ofModel } = choice
  return { credential: null, waitingFor, limit, untilMs: earliest(untilMs, nextMs), ofModel }
}

/** The credential of a name, also one that is deleted and still has work under way. */
export const ownerOf = (books: Books, provider: string, name: string | null): CredentialRow | null => {
  const setup = books.setups.get(provider)
  if (name !== null && setup?.standIn?.name === name) return setup.standIn
  const isNamed = (item: CredentialRow): boolean => item.name === name
  return setup?.credentials.find(isNamed) ?? setup?.retired.find(isNamed) ?? null
}

/** The one credential that a call must be made with, once it has room: what it began belongs to its account. */
export const pickOwner = (books: Books, row: CredentialRow, { model, tokens }: CallOf, now: number): Picked => {
  const owners = contenders(books, model, [row]).map((owner) => ({ ...owner, weight: 1 }))
  const choice = chooseCredential(owners, tokens, now, 0)
  if (!choice || choice.chosen) return { credential: row, limiters: owners.flatMap(limitersOf) }
  const { waitingFor, limit, untilMs, ofModel } = choice
  return { credential: null, waitingFor, limit, untilMs, ofModel }
}

/** Whether a credential that was told to be silent has another beside it that could take a call now. */
export const hasRoomBeside = (books: Books, row: CredentialRow, call: CallOf, now: number): boolean =>
  contenders(books, call.model, [row])
    .flatMap(limitersOf)
    .some(({ load }) => load.blockedUntilMs > now) && pickCredential(books, call, now, 0).credential !== null

type Contending = { row: CredentialRow; weight: number; limiter: Limiter; pace: Limiter | null }

const contenders = (books: Books, model: string, rows: readonly CredentialRow[]): Contending[] =>
  rows.map((row) => ({
    row,
    weight: row.weight,
    limiter: books.credentialLimiter(row.provider, row.name),
    pace: books.paces.find(model, row.name),
  }))

const limitersOf = ({ limiter, pace }: Contending): Limiter[] => (pace ? [limiter, pace] : [limiter])

/** What the usable credentials let through together: calls at once, and the time between two of them in ms. */
export const credentialRoom = (
  books: Books,
  { model, tokens }: CallOf,
  now: number,
): { slots: number; intervalMs: number } => {
  const { usable } = usableCredentials(books, providerIdOf(model), now)
  if (usable.length === 0) return { slots: Number.POSITIVE_INFINITY, intervalMs: 0 }
  const rooms = contenders(books, model, usable).map(limitersOf)
  const perMs = rooms.reduce((sum, limiters) => sum + 1 / Math.max(...limiters.map((item) => paceOf(item, tokens))), 0)
  return { slots: rooms.reduce((sum, limiters) => sum + Math.min(...limiters.map(slotsOf)), 0), intervalMs: 1 / perMs }
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
export const modelReadyAt = (books: Books, name: string, tokens: number, now: number): number | null => {
  const provider = providerIdOf(name)
  const providerAt = providerReadyAt(books, provider, now)
  if (providerAt === null) return null
  const { usable } = usableCredentials(books, provider, now)
  const rooms = contenders(books, name, usable).map((contender) =>
    Math.max(...limitersOf(contender).map((limiter) => readyAt(limiter, tokens, now))),
  )
  const credentialAt = rooms.length > 0 ? Math.min(...rooms) : now
  return Math.max(providerAt, credentialAt, ...books.limiters(name).map((limiter) => readyAt(limiter, tokens, now)))
}

/** Calls of a model that its limits let begin now, behind those that wait for it. */
export const roomAt = (books: Books, model: string, now: number): number => {
  const provider = providerIdOf(model)
  const { usable } = usableCredentials(books, provider, now)
  const byCredential = contenders(books, model, usable).map((contender) => callsLeft(limitersOf(contender), now))
  const ofAll = byCredential.length > 0 ? byCredential.reduce((sum, calls) => sum + calls, 0) : Number.POSITIVE_INFINITY
  return Math.min(ofAll, callsLeft(books.limiters(model), now)) - books.queues.waitingFor(provider, model)
}

const callsLeft = (limiters: readonly Limiter[], now: number): number =>
  limiters.reduce((least, limiter) => {
    const quota = requestQuota(limiter, now)?.left ?? Number.POSITIVE_INFINITY
    return Math.max(0, Math.min(least, quota, slotsOf(limiter) - limiter.load.running))
  }, Number.POSITIVE_INFINITY)

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

/** A model of text as a candidate. The caller has seen to it that the model accepts the input. */
export const textCandidate = (
  books: Books,
  model: string,
  tokens: number,
  priceMicros: number | null,
  now: number,
): Candidate => {
  const record = books.record(model)
  const card = textCardOf(model)
  return {
    model,
    readyAtMs: modelReadyAt(books, model, tokens, now),
    priceMicros,
    durationMs: medianMs(record) ?? card?.typicalMs ?? 0,
    successRate: successRate(record),
    qualityRank: card?.qualityRank ?? 1,
  }
}

/** What a run of a model usually takes, in ms, before any has been seen; 0 where nobody knows. */
export const typicalMsOf = (model: string): number =>
  findModel(model)?.card.typicalMs ?? textCardOf(model)?.typicalMs ?? 0

const textCardOf = (model: string) => findChatModel(model)?.card ?? findEmbedModel(model)?.card
