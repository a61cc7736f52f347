import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Audience } from '../../../src/instance/audience.ts'

const NAMES = ['a', 'b', 'c']
const maybe = fc.option(fc.constantFrom(...NAMES), { nil: null })
const filters = fc.record({ job: maybe, batch: maybe, project: maybe })
const events = fc.record({
  job: maybe,
  batch: fc.option(fc.constantFrom(...NAMES), { nil: undefined }),
  project: maybe,
})

type Follower = {
  filter: { job: string | null; batch: string | null; project: string | null }
  expiresAtMs: number | null
}

describe('an audience', () => {
  test('finds for every event those whose filter holds, and nobody else, whoever has left', () => {
    fc.assert(
      fc.property(fc.array(filters), fc.array(fc.nat(30)), fc.array(events), (wanted, leaving, told) => {
        const audience = new Audience<Follower>()
        const followers = wanted.map((filter): Follower => ({ filter, expiresAtMs: null }))
        for (const follower of followers) audience.add(follower)
        const left = new Set(leaving.flatMap((i) => followers[i] ?? []))
        for (const follower of left) audience.delete(follower)
        expect(audience.size).toBe(followers.length - left.size)
        for (const { project, batch, job } of told) {
          const event = batch === undefined ? { job } : { job, batch }
          const seeing = followers.filter(
            (one) =>
              !left.has(one) &&
              [null, job].includes(one.filter.job) &&
              [null, batch ?? ''].includes(one.filter.batch) &&
              [null, project].includes(one.filter.project),
          )
          const found = audience.of(event, project)
          expect(new Set(found)).toEqual(new Set(seeing))
          expect(found).toHaveLength(seeing.length)
        }
      }),
    )
  })

  test('names those whose right has ended, once each, when it has', () => {
    const audience = new Audience<Follower>()
    const everything = { job: null, batch: null, project: null }
    const [never, early, late] = [null, 100, 200].map((expiresAtMs) => ({ filter: everything, expiresAtMs }))
    if (!never || !early || !late) throw new Error('three were made')
    for (const one of [never, late, early]) audience.add(one)
    expect(audience.expired(99)).toEqual([])
    expect(audience.expired(100)).toEqual([early])
    audience.delete(early)
    expect(audience.expired(199)).toEqual([])
    expect(audience.expired(200)).toEqual([late])
    audience.delete(late)
    expect(audience.expired(1_000_000)).toEqual([])
    expect([...audience]).toEqual([never])
  })
})
