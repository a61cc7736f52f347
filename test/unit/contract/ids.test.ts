import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { artifactId, artifactKey, InstanceId, JobId, makeId } from '../../../src/contract/ids.ts'
import { LIMITS } from '../../../src/limits.ts'

const anyTime = fc.integer({ min: 0, max: 32 ** 10 - 1 })
const anyRandom = fc.uint8Array({ minLength: 16, maxLength: 16 })
const JOB = 'job_01JAAAAAAAAAAAAAAAAAAAAAAA'

describe('an id', () => {
  test('sorts by the time it was made, whatever its random part', () => {
    fc.assert(
      fc.property(anyTime, anyTime, anyRandom, anyRandom, (one, other, a, b) => {
        fc.pre(one < other)
        expect(makeId('job', one, a) < makeId('job', other, b)).toBe(true)
      }),
    )
  })

  test('of a job is one that the contract accepts', () => {
    fc.assert(
      fc.property(anyTime, anyRandom, (time, random) => {
        expect(v.is(JobId, makeId('job', time, random))).toBe(true)
      }),
    )
  })

  test('differs where one random byte differs in the bits that are used', () => {
    const zeros = new Uint8Array(16)
    for (let i = 0; i < 16; i += 1) expect(makeId('job', 0, zeros.with(i, 31))).not.toBe(makeId('job', 0, zeros))
    expect(makeId('job', 0, zeros.with(0, 32))).toBe(makeId('job', 0, zeros))
  })

  test('is written as ULIDs are', () => {
    expect(makeId('job', 1_469_918_176_385, new Uint8Array(16))).toBe('job_01ARYZ6S410000000000000000')
  })

  test.each([
    ['another prefix', 'art_01JAAAAAAAAAAAAAAAAAAAAAAA'],
    ['one character less', JOB.slice(0, -1)],
    ['one character more', `${JOB}A`],
    ['small letters', JOB.toLowerCase()],
    ['letters that look like digits', 'job_01JAAAAAAAAAAAAAAAAAAAAAIL'],
    ['a line break at its end', `${JOB}\n`],
    ['nothing', ''],
  ])('of a job is refused with %s', (_name, id) => expect(v.is(JobId, id)).toBe(false))

  test.each([
    ['p', true],
    ['prod-eu-1', true],
    [`p${'x'.repeat(62)}`, true],
    [`p${'x'.repeat(63)}`, false],
    ['', false],
    ['-prod', false],
    ['pröd', false],
    ['a/b', false],
    ['..', false],
    ['%2e', false],
    ['prod\n', false],
  ])('of an instance: %j is one: %s', (id, isOne) => expect(v.is(InstanceId, id)).toBe(isOne))
})

describe('an artifact’s id', () => {
  test('leads to its place under its instance and job', () => {
    expect(artifactId(JOB, 2, 7)).toBe('art_01JAAAAAAAAAAAAAAAAAAAAAAA_2_7')
    expect(artifactKey('prod', artifactId(JOB, 2, 7))).toBe(`prod/${JOB}/2-7`)
  })

  test('can be read back for every job, attempt and picture, and different pictures have different places', () => {
    const anyPlace = fc.tuple(
      anyTime,
      anyRandom,
      fc.integer({ min: 1, max: 999_999_999 }),
      fc.integer({ min: 0, max: LIMITS.imagesPerJob - 1 }),
    )
    const keyOf = ([time, random, attempt, index]: [number, Uint8Array, number, number]): string | null =>
      artifactKey('prod', artifactId(makeId('job', time, random), attempt, index))
    fc.assert(
      fc.property(anyPlace, anyPlace, (one, other) => {
        const job = makeId('job', one[0], one[1])
        expect(keyOf(one)).toBe(`prod/${job}/${one[2]}-${one[3]}`)
        expect(keyOf(one) === keyOf(other)).toBe(
          artifactId(job, one[2], one[3]) === artifactId(makeId('job', other[0], other[1]), other[2], other[3]),
        )
      }),
    )
  })

  test('holds after a thousand attempts too: rate limits cost none, so a patient job gets there', () => {
    expect(artifactKey('prod', artifactId(JOB, 1_000, 0))).toBe(`prod/${JOB}/1000-0`)
  })

  const good = 'art_01JAAAAAAAAAAAAAAAAAAAAAAA_1_0'
  test.each([
    ['nothing', ''],
    ['a job’s id', JOB],
    ['a way up', `../${good}`],
    ['a way up in the job', 'art_../../../other/job_01JAAAAA_1_0'],
    ['a way up at the end', `${good}/../../x`],
    ['an encoded slash', 'art_01JAAAAAAAAAAAAAAAAAAAA%2FA_1_0'],
    ['another instance in front', `other/${good}`],
    ['a line break at its end', `${good}\n`],
    ['a second line', `x\n${good}`],
    ['a null byte', `${good}\u0000`],
    ['small letters', good.toLowerCase()],
    ['digits of another script', 'art_01JAAAAAAAAAAAAAAAAAAAAAAA_١_0'],
    ['a sign', 'art_01JAAAAAAAAAAAAAAAAAAAAAAA_-1_0'],
    ['a fraction', 'art_01JAAAAAAAAAAAAAAAAAAAAAAA_1.0_0'],
    ['no index', 'art_01JAAAAAAAAAAAAAAAAAAAAAAA_1'],
    ['a number without end', `art_01JAAAAAAAAAAAAAAAAAAAAAAA_${'9'.repeat(400)}_0`],
  ])('leads nowhere with %s', (_name, id) => expect(artifactKey('prod', id)).toBeNull())

  test('never leads out of its instance, whatever it is', () => {
    const hostile = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom('art', '_', '/', '..', '.', '%2f', '\\', '0', '1', 'A', 'job', '\n') }),
    )
    fc.assert(
      fc.property(hostile, (id) => {
        const key = artifactKey('prod', id)
        if (key !== null) expect(key).toMatch(/^prod\/job_[0-9A-Z]{26}\/\d+-\d+$/)
      }),
    )
  })
})
