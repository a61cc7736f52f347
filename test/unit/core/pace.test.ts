import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  admit,
  heed,
  initialLoad,
  type Limiter,
  type LimiterLoad,
  type LimiterRate,
  pause,
  readyAt,
  relax,
  slotsOf,
  slow,
} from '../../../src/core/admission.ts'
import { isWhole, paceOver } from '../../../src/core/pace.ts'
import { LIMITS } from '../../../src/limits.ts'

/** What is learned of one model, beside the limits that are configured. */

const NOW = 1_790_000_000_000
const MINUTE = 60_000

const anyLimit = fc.option(fc.integer({ min: 1, max: 1_000 }), { nil: null })
const anyLimiter = fc
  .record({
    concurrency: anyLimit,
    per_minute: anyLimit,
    per_day: anyLimit,
    tokens_per_minute: anyLimit,
    missingMs: fc.integer({ min: 0, max: 5_000 }),
  })
  .map(({ concurrency, missingMs, ...limits }): Limiter => {
    const rates = Object.entries(limits).flatMap(([id, limit]): LimiterRate[] =>
      limit === null
        ? []
        : [{ id: id as LimiterRate['id'], limit, windowMs: id === 'per_day' ? 24 * 60 * MINUTE : MINUTE }],
    )
    const fullAtMs = Object.fromEntries(rates.map(({ id }) => [id, NOW + missingMs]))
    return { name: 'configured', rules: { concurrency, rates }, load: { ...initialLoad(), fullAtMs } }
  })
const anyConfigured = fc.array(anyLimiter, { minLength: 1, maxLength: 3 })

const paceOf = (
  configured: readonly Limiter[],
  change: (load: LimiterLoad) => LimiterLoad = (load) => load,
): Limiter => {
  const { rules, fullAtMs } = paceOver(configured)
  return { name: 'pace', rules, load: change({ ...initialLoad(), fullAtMs }) }
}

describe('the pace of a model', () => {
  test('that nothing has narrowed stands in no call’s way', () => {
    fc.assert(
      fc.property(anyConfigured, fc.integer({ min: 0, max: 50 }), (configured, tokens) => {
        const alone = admit(configured, tokens, NOW)
        const beside = admit([...configured, paceOf(configured)], tokens, NOW)
        expect(beside.admitted).toBe(alone.admitted)
        if (!alone.admitted) expect(beside).toEqual(alone)
      }),
    )
  })

  test('is a share of the tightest of what is configured, by the minute only', () => {
    fc.assert(
      fc.property(anyConfigured, (configured) => {
        const { rules } = paceOf(configured)
        const least = (limits: number[]) => (limits.length > 0 ? Math.min(...limits) : null)
        const limitsOf = (id: string) =>
          configured.flatMap((item) => item.rules.rates.flatMap((rate) => (rate.id === id ? [rate.limit] : [])))
        expect(rules.concurrency).toBe(least(configured.flatMap((item) => item.rules.concurrency ?? [])))
        for (const id of ['per_minute', 'tokens_per_minute'])
          expect(rules.rates.find((rate) => rate.id === id)?.limit ?? null).toBe(least(limitsOf(id)))
        expect(rules.rates.some(({ id }) => id === 'per_day')).toBe(false)
      }),
    )
  })

  test('keeps its model silent without any limit that is configured', () => {
    const nothing: Limiter = { name: 'provider', rules: { concurrency: null, rates: [] }, load: initialLoad() }
    const silent = paceOf([nothing], (load) => slow(load, NOW, 30_000))
    expect(readyAt(silent, 1, NOW)).toBe(NOW + 30_000)
    expect(slotsOf(silent)).toBe(Number.POSITIVE_INFINITY)
  })

  test('is whole again when it is neither narrowed nor silent', () => {
    expect(isWhole(initialLoad(), NOW)).toBe(true)
    expect(isWhole(pause(initialLoad(), NOW, 5), NOW)).toBe(false)
    expect(isWhole(pause(initialLoad(), NOW, 5), NOW + 5)).toBe(true)
    let load = slow(initialLoad(), NOW, 0)
    for (let i = 0; i < 0.5 / LIMITS.adaptiveStep; i += 1) {
      expect(isWhole(load, NOW)).toBe(false)
      load = relax(load)
    }
    expect(isWhole(load, NOW)).toBe(true)
  })
})

/** A provider that counts by model: the calls of a minute to each, and what its headers say after one. */
const counting = (limit: number) => {
  const used = new Map<string, { calls: number; sinceMs: number }>()
  return (model: string, now: number) => {
    const known = used.get(model)
    const window = known && now - known.sinceMs < MINUTE ? known : { calls: 0, sinceMs: now }
    used.set(model, window)
    window.calls += 1
    const remaining = Math.max(0, limit - window.calls)
    return { served: window.calls <= limit, hint: { remaining, resetAfterMs: window.sinceMs + MINUTE - now } }
  }
}

/** Ten minutes of two models without a pause: one that is called too often, and one that is called as often as it may be. */
const run = (byModel: boolean): { greedy: number; modest: number; refused: number } => {
  const provider = counting(300)
  const rules = { concurrency: null, rates: [{ id: 'per_minute' as const, limit: 1_200, windowMs: MINUTE }] }
  let shared: Limiter = { name: 'provider', rules, load: initialLoad() }
  const paces = new Map<string, Limiter>()
  const told = { greedy: 0, modest: 0, refused: 0 }
  for (let now = NOW; now < NOW + 10 * MINUTE; now += 50) {
    // Who comes first gets what there is: each does in turn.
    for (const model of now % 100 === 0 ? (['greedy', 'modest'] as const) : (['modest', 'greedy'] as const)) {
      // The modest one makes four calls a second, and so 240 a minute.
      if (model === 'modest' && now % 250 !== 0) continue
      const pace = paces.get(model)
      const limiters = byModel && pace ? [shared, pace] : [shared]
      const admission = admit(limiters, 0, now)
      if (!admission.admitted) continue
      const [load = initialLoad(), ofPace] = admission.loads.map((item) => ({ ...item, running: 0 }))
      shared = { ...shared, load }
      if (pace && ofPace) paces.set(model, { ...pace, load: ofPace })
      const { served, hint } = provider(model, now)
      if (served) told[model] += 1
      else told.refused += 1
      const learner = byModel ? (paces.get(model) ?? paceOf([shared])) : shared
      const judged = served ? relax(learner.load) : slow(learner.load, now, 1_000)
      const learned = { ...learner, load: heed({ ...learner, load: judged }, { requests: hint, tokens: null }, now) }
      if (!byModel) shared = learned
      else if (isWhole(learned.load, now)) paces.delete(model)
      else paces.set(model, learned)
    }
  }
  return told
}

test('a model that is called too often takes nothing from the other', () => {
  const [together, apart] = [run(false), run(true)]
  // All that it asks for: 240 a minute, but for what the limit of the provider puts off.
  expect(apart.modest).toBeGreaterThan(0.95 * 2_400)
  expect(together.modest).toBeLessThan(0.8 * 2_400)
  expect(apart.greedy).toBeGreaterThan(0.85 * 3_000)
  expect(apart.refused).toBeLessThan(30)
})
