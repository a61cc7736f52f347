import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { admit, initialLoad, type Limiter, type LimiterRate, readyAt, shareLeft } from '../../../src/core/admission.ts'
import { type Contender, chooseCredential, pickByWeight } from '../../../src/core/credential.ts'

const anyItems = fc.array(fc.record({ name: fc.string(), weight: fc.integer({ min: 0, max: 1_000 }) }), {
  maxLength: 8,
})
const anyRandom = fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 1, 1 - Number.EPSILON))

describe('choosing a credential', () => {
  test('follows the weights exactly over evenly spread chances', () => {
    const items = [
      { name: 'one', weight: 1 },
      { name: 'none', weight: 0 },
      { name: 'three', weight: 3 },
      { name: 'six', weight: 6 },
    ]
    const chosen: Record<string, number> = {}
    for (let i = 0; i < 1_000; i += 1) {
      const name = pickByWeight(items, (i + 0.5) / 1_000)?.name ?? 'nobody'
      chosen[name] = (chosen[name] ?? 0) + 1
    }
    expect(chosen).toEqual({ one: 100, three: 300, six: 600 })
  })

  test('gives each its share of any set, within one part of the grid', () => {
    fc.assert(
      fc.property(anyItems, (items) => {
        const total = items.reduce((sum, { weight }) => sum + weight, 0)
        fc.pre(total > 0)
        const draws = 500
        const picks = Array.from({ length: draws }, (_, i) => pickByWeight(items, (i + 0.5) / draws))
        for (const item of items) {
          const share = picks.filter((pick) => pick === item).length / draws
          expect(Math.abs(share - item.weight / total)).toBeLessThanOrEqual(1 / draws + 1e-9)
        }
      }),
    )
  })

  test('never takes one of weight zero, at the edges of chance neither', () => {
    fc.assert(
      fc.property(anyItems, anyRandom, (items, random) => {
        const picked = pickByWeight(items, random)
        if (picked) expect(picked.weight).toBeGreaterThan(0)
      }),
    )
    expect(pickByWeight([{ weight: 0 }, { weight: 5 }, { weight: 0 }], 0)).toEqual({ weight: 5 })
    expect(pickByWeight([{ weight: 0 }, { weight: 5 }, { weight: 0 }], 1)).toEqual({ weight: 5 })
  })

  test('gives nothing only where there is none with a weight', () => {
    fc.assert(
      fc.property(anyItems, anyRandom, (items, random) => {
        expect(pickByWeight(items, random) === null).toBe(items.every(({ weight }) => weight === 0))
      }),
    )
    expect(pickByWeight([], 0.5)).toBeNull()
  })
})

const NOW = 1_790_000_000_000
const MINUTE = 60_000

type Named = Contender & { name: string }

const perMinute = (limit: number): LimiterRate => ({ id: 'per_minute', limit, windowMs: MINUTE })

const contender = (name: string, weight: number, limiter: Partial<Omit<Limiter, 'name'>> = {}): Named => ({
  name,
  weight,
  limiter: { name, rules: { concurrency: null, rates: [] }, load: initialLoad(), ...limiter },
})

const anyContenders: fc.Arbitrary<Named[]> = fc
  .array(
    fc
      .record({
        weight: fc.integer({ min: 0, max: 1_000 }),
        concurrency: fc.option(fc.integer({ min: 1, max: 5 })),
        running: fc.integer({ min: 0, max: 6 }),
        limit: fc.option(fc.integer({ min: 1, max: 600 })),
        spentMs: fc.integer({ min: -MINUTE, max: 2 * MINUTE }),
        silentMs: fc.constantFrom(0, 0, 0, 5_000),
        share: fc.constantFrom(0.1, 0.5, 1),
      })
      .map(({ weight, concurrency, running, limit, spentMs, silentMs, share }) => ({
        weight,
        rules: { concurrency, rates: limit === null ? [] : [perMinute(limit)] },
        load: {
          running,
          blockedUntilMs: silentMs === 0 ? 0 : NOW + silentMs,
          fullAtMs: { per_minute: NOW + spentMs },
          adaptive: { share, narrowedAtMs: 0 },
        },
      })),
    { maxLength: 6 },
  )
  .map((items) => items.map(({ weight, rules, load }, i) => contender(`c${i}`, weight, { rules, load })))

const anyTokens = fc.integer({ min: 0, max: 40 })
const hasRoom = ({ limiter }: Named, tokens: number): boolean => admit([limiter], tokens, NOW).admitted

describe('choosing a credential that has room', () => {
  test('never takes one without room or without weight, and is settled by the random number', () => {
    fc.assert(
      fc.property(anyContenders, anyTokens, anyRandom, (items, tokens, random) => {
        const choice = chooseCredential(items, tokens, NOW, random)
        expect(chooseCredential(items, tokens, NOW, random)).toEqual(choice)
        if (!choice?.chosen) return
        expect(choice.chosen.weight).toBeGreaterThan(0)
        expect(hasRoom(choice.chosen, tokens)).toBe(true)
      }),
    )
  })

  test('takes one wherever one of weight has room', () => {
    fc.assert(
      fc.property(anyContenders, anyTokens, anyRandom, (items, tokens, random) => {
        const able = items.filter((item) => item.weight > 0 && hasRoom(item, tokens))
        expect(Boolean(chooseCredential(items, tokens, NOW, random)?.chosen)).toBe(able.length > 0)
      }),
    )
  })

  test('follows weight times what is left of the rate, within one part of the grid', () => {
    fc.assert(
      fc.property(anyContenders, anyTokens, (items, tokens) => {
        const able = items.filter((item) => item.weight > 0 && hasRoom(item, tokens))
        fc.pre(able.length > 0)
        const worth = (item: Named): number => item.weight * Math.max(1 / 1024, shareLeft(item.limiter, NOW))
        const total = able.reduce((sum, item) => sum + worth(item), 0)
        const draws = 400
        const picks = Array.from(
          { length: draws },
          (_, i) => chooseCredential(items, tokens, NOW, (i + 0.5) / draws)?.chosen?.name,
        )
        for (const item of able) {
          const share = picks.filter((name) => name === item.name).length / draws
          expect(Math.abs(share - worth(item) / total)).toBeLessThanOrEqual(1 / draws + 1e-9)
        }
      }),
    )
  })

  test('over many calls credentials serve as their rates allow, the larger more often, and no rate is exceeded', () => {
    // A hundred a minute have a bucket of ten, a thousand one of a hundred; both are weighted alike.
    let items = [
      contender('small', 1, { rules: { concurrency: null, rates: [perMinute(100)] } }),
      contender('large', 1, { rules: { concurrency: null, rates: [perMinute(1_000)] } }),
    ]
    const served: Record<string, number> = { small: 0, large: 0 }
    for (let i = 0; i < 600; i += 1) {
      const now = NOW + i * 100
      const chosen = chooseCredential(items, 1, now, (i * 0.618_033_988_75) % 1)?.chosen
      if (!chosen) continue
      served[chosen.name] = (served[chosen.name] ?? 0) + 1
      const admission = admit([chosen.limiter], 1, now)
      const [load = initialLoad()] = admission.admitted ? admission.loads : []
      items = items.map((item) => (item === chosen ? { ...item, limiter: { ...item.limiter, load } } : item))
    }
    expect(served['small']).toBeLessThanOrEqual(100)
    expect(served['large']).toBeGreaterThan(4 * (served['small'] ?? 0))
    expect((served['small'] ?? 0) + (served['large'] ?? 0)).toBe(600)
  })

  test('where none has room it names the one that has it first, and when', () => {
    fc.assert(
      fc.property(anyContenders, anyTokens, anyRandom, (items, tokens, random) => {
        const choice = chooseCredential(items, tokens, NOW, random)
        if (!choice || choice.chosen) return
        const weighted = items.filter((item) => item.weight > 0)
        const times = weighted
          .map(({ limiter }) => readyAt(limiter, tokens, NOW))
          .filter((at) => at > NOW)
          .sort((a, b) => a - b)
        const named = weighted.find((item) => item.name === choice.limit)
        if (choice.untilMs === null) {
          expect(times).toEqual([])
          expect(choice.waitingFor).toBe('concurrency')
        } else {
          expect(choice.untilMs).toBe(times[0])
          expect(named && readyAt(named.limiter, tokens, NOW)).toBe(choice.untilMs)
        }
      }),
    )
  })

  test('one whose model is slowed with it is passed over for that model, and told apart from one that has no room at all', () => {
    const full = { rules: { concurrency: 1, rates: [] }, load: { ...initialLoad(), running: 1 } }
    const pace = {
      name: 'pace',
      rules: { concurrency: null, rates: [] },
      load: { ...initialLoad(), blockedUntilMs: NOW + 5 },
    }
    const [slowed, free] = [
      { ...contender('slowed', 9), pace },
      { ...contender('free', 1), pace: null },
    ]
    expect(chooseCredential([slowed, free], 1, NOW, 0)?.chosen?.name).toBe('free')
    const refused = { chosen: null, waitingFor: 'provider_rate', limit: 'pace', untilMs: NOW + 5 }
    expect(chooseCredential([slowed], 1, NOW, 0)).toEqual({ ...refused, ofModel: true })
    // Its limiter has no room for any model, and another's pace may still let other models out.
    expect(chooseCredential([contender('full', 1, full), slowed], 1, NOW, 0)).toEqual({ ...refused, ofModel: true })
    expect(chooseCredential([{ ...contender('full', 1, full), pace }], 1, NOW, 0)).toMatchObject({ ofModel: false })
    expect(chooseCredential([slowed], 1, NOW + 5, 0)?.chosen?.name).toBe('slowed')
  })

  test('answers null where nothing has a weight', () => {
    expect(chooseCredential([], 1, NOW, 0.5)).toBeNull()
    expect(chooseCredential([contender('off', 0)], 1, NOW, 0.5)).toBeNull()
  })
})
