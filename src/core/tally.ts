import type { AttemptFaultCode } from '../contract/fault.ts'
import type { FinalStatus } from '../contract/job.ts'
import { LIMITS } from '../limits.ts'
import { addToSketch, emptySketch, mergeSketch, type Sketch } from './sketch.ts'

/**
 * What was used in some span of time by some part of an instance: sums and sketches, so that tallies of parts add up to
 * the tally of the whole. Changed in place: it is added to in every settlement.
 */
export type Tally = {
  attempts: number
  /** How jobs ended. */
  succeeded: number
  failed: number
  canceled: number
  /** Attempts that did not end well, by code. */
  errors: Map<string, number>
  images: number
  /** Tokens by kind, as providers count them. */
  tokens: Map<string, number>
  /** Sum over the attempts whose cost is known, in millionths of a US dollar; and how many others there were. */
  costMicros: number
  unknownCosts: number
  /** Of attempts that ended well: time at the provider. */
  providerMs: Sketch
  /** Of jobs that were begun: from when they could start to their first attempt. */
  queueMs: Sketch
  /** Of jobs that succeeded: from when they could start to their end. */
  totalMs: Sketch
}

export type EndedAttempt = {
  outcome: 'done' | AttemptFaultCode
  /** Null: unknown. */
  costMicros: number | null
  providerMs: number
  images: number
  tokens: Readonly<Record<string, number>>
}

/** Times in ms; `queueMs` is null where no attempt was made. */
export type EndedJob = { status: FinalStatus; queueMs: number | null; totalMs: number }

export const emptyTally = (): Tally => ({
  attempts: 0,
  succeeded: 0,
  failed: 0,
  canceled: 0,
  errors: new Map(),
  images: 0,
  tokens: new Map(),
  costMicros: 0,
  unknownCosts: 0,
  providerMs: emptySketch(),
  queueMs: emptySketch(),
  totalMs: emptySketch(),
})

export const tallyAttempt = (tally: Tally, end: EndedAttempt): void => {
  tally.attempts += 1
  tally.images += end.images
  for (const [kind, count] of Object.entries(end.tokens)) addTokens(tally, kind, count)
  if (end.costMicros === null) tally.unknownCosts += 1
  else tally.costMicros += end.costMicros
  if (end.outcome !== 'done') raise(tally.errors, end.outcome, 1)
  // One that only stored what an earlier attempt had made was at no provider.
  else if (end.providerMs > 0) addToSketch(tally.providerMs, end.providerMs)
}

export const tallyJob = (tally: Tally, end: EndedJob): void => {
  tally[end.status] += 1
  if (end.queueMs !== null) addToSketch(tally.queueMs, end.queueMs)
  if (end.status === 'succeeded') addToSketch(tally.totalMs, end.totalMs)
}

/** Adds what `other` has counted, which stays as it is. */
export const mergeTally = (tally: Tally, other: Tally): void => {
  tally.attempts += other.attempts
  tally.succeeded += other.succeeded
  tally.failed += other.failed
  tally.canceled += other.canceled
  tally.images += other.images
  tally.costMicros += other.costMicros
  tally.unknownCosts += other.unknownCosts
  for (const [code, count] of other.errors) raise(tally.errors, code, count)
  for (const [kind, count] of other.tokens) raise(tally.tokens, kind, count)
  mergeSketch(tally.providerMs, other.providerMs)
  mergeSketch(tally.queueMs, other.queueMs)
  mergeSketch(tally.totalMs, other.totalMs)
}

/** Kinds come from adapters and are few; a provider that makes up names must not make rows without bound. */
const addTokens = ({ tokens }: Tally, kind: string, count: number): void => {
  const isNew = !tokens.has(kind)
  if (!Number.isSafeInteger(count) || count <= 0 || (isNew && tokens.size >= LIMITS.tokenKinds)) return
  raise(tokens, kind, count)
}

const raise = (counts: Map<string, number>, key: string, by: number): void =>
  void counts.set(key, (counts.get(key) ?? 0) + by)
