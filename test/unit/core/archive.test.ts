import fc from 'fast-check'
import { expect, test } from 'vitest'
import { findLine, neighbourhood, packJobs } from '../../../src/core/archive.ts'
import { idFrom } from '../../../src/core/retention.ts'
import { LIMITS } from '../../../src/limits.ts'

const START = Date.parse('2026-11-21T00:00:00Z')
const idAt = (ms: number, i: number): string => idFrom('job', START + ms).slice(0, -4) + String(i).padStart(4, '0')
const line = (id: string, more = ''): string => JSON.stringify({ id, more })

test('every job goes into exactly one object, in order, and each object is bounded and of one neighbourhood', () => {
  const drawn = fc.array(
    fc.record({ ms: fc.integer({ min: 0, max: 10_000_000 }), length: fc.integer({ min: 1, max: 400_000 }) }),
    { maxLength: 40 },
  )
  fc.assert(
    fc.property(drawn, (jobs) => {
      const lengths = new Map(jobs.map(({ ms, length }, i) => [idAt(ms, i), length]))
      const ids = [...lengths.keys()].sort()
      const seen: string[] = []
      while (seen.length < ids.length) {
        const packed = packJobs(ids.slice(seen.length), (id) => 'x'.repeat(lengths.get(id) ?? 0))
        expect(packed.ids.length).toBeGreaterThan(0)
        expect(packed.reached).toBe(packed.ids.at(-1))
        expect(new Set(packed.ids.map((id) => neighbourhood(id).from)).size).toBe(1)
        if (packed.ids.length > 1) expect(packed.lines.join('\n').length).toBeLessThanOrEqual(LIMITS.archiveCharacters)
        seen.push(...packed.ids)
      }
      expect(seen).toEqual(ids)
    }),
    { numRuns: 40 },
  )
})

test('an object takes so many jobs and no more, and leaves out what cannot be read', () => {
  const ids = Array.from({ length: LIMITS.archiveJobs + 10 }, (_, i) => idAt(0, i))
  expect(packJobs(ids, (id) => line(id)).ids).toEqual(ids.slice(0, LIMITS.archiveJobs))
  const odd = packJobs(ids.slice(0, 4), (id) => (id === ids[0] || id === ids[3] ? null : line(id)))
  expect([odd.ids, odd.reached]).toEqual([[ids[1], ids[2]], ids[3]])
  expect(packJobs(ids.slice(0, 1), () => null)).toEqual({ ids: [], lines: [], reached: ids[0] })
})

test('a line is found by its own id, not by one that is told in another line', () => {
  const ids = [idAt(0, 1), idAt(0, 2), idAt(0, 3)] as const
  const text = `${[line(ids[0], `{"id":"${ids[1]}"`), line(ids[1], 'mine'), line(ids[2])].join('\n')}\n`
  expect(findLine(text, ids[0])).toBe(line(ids[0], `{"id":"${ids[1]}"`))
  expect(findLine(text, ids[1])).toBe(line(ids[1], 'mine'))
  expect(findLine(text, ids[2])).toBe(line(ids[2]))
  expect(findLine(text, idAt(0, 4))).toBeNull()
  expect(findLine(text.trimEnd(), ids[2])).toBe(line(ids[2]))
})

test('ids within a quarter of an hour lie together', () => {
  const { from, to } = neighbourhood(idAt(0, 1))
  expect(from < idAt(0, 1) && idAt(0, 1) < to).toBe(true)
  expect(idAt(60 * 60 * 1000, 1) > to).toBe(true)
})
