import { describe, expect, test } from 'vitest'
import { type Following, followHold, type Hold, type Stage } from '../../../src/core/hold.ts'

const waiting: Hold = { micros: 60, day: null }
const begun: Hold = { micros: 60, day: '2026-11-21' }
const stage = (status: Stage['status'], model = 'a/1', resume: string | null = null): Stage => ({
  status,
  model,
  resume,
})
const follow = (before: Stage, held: Hold | null, after: Stage, cost: number | null = null): Following =>
  followHold({ ...before, held }, after, cost)

describe('what becomes of a hold', () => {
  test.each<[string, Following, Following]>([
    ['begins with the attempt', follow(stage('queued'), waiting, stage('running')), { closes: null, hold: 'begins' }],
    [
      'stays when a time has come',
      follow(stage('scheduled'), waiting, stage('queued')),
      { closes: null, hold: 'same' },
    ],
    [
      'is asked for anew with another model',
      follow(stage('queued'), waiting, stage('queued', 'b/1')),
      { closes: null, hold: 'new' },
    ],
    [
      'is asked for where a job waited without',
      follow(stage('queued'), null, stage('queued')),
      { closes: null, hold: 'new' },
    ],
    [
      'ends with the attempt, and a retry asks anew',
      follow(stage('running'), begun, stage('queued'), 0),
      { closes: { costMicros: 0 }, hold: 'new' },
    ],
    [
      'ends with the job, whatever that cost',
      follow(stage('running'), begun, stage('succeeded'), 70),
      { closes: { costMicros: 70 }, hold: 'none' },
    ],
    [
      'ends in an unknown cost where a running job is canceled',
      follow(stage('running'), begun, stage('canceled')),
      { closes: { costMicros: null }, hold: 'none' },
    ],
    [
      'is given back where a waiting job is canceled',
      follow(stage('queued'), waiting, stage('canceled')),
      { closes: null, hold: 'none' },
    ],
  ])('it %s', (_name, seen, expected) => expect(seen).toEqual(expected))
})

describe('a generation that is still under way', () => {
  const goesOn = stage('queued', 'a/1', '{"stage":"poll"}')

  test.each([null, 0])('keeps its hold and its day for the attempt that goes on with it (cost %s)', (cost) => {
    expect(follow(stage('running'), begun, goesOn, cost)).toEqual({ closes: null, hold: 'same' })
    expect(follow(goesOn, begun, { ...goesOn, status: 'running' })).toEqual({ closes: null, hold: 'same' })
  })

  test('is presumed to be paid where its job ends without it', () => {
    for (const status of ['canceled', 'failed'] as const)
      expect(follow(goesOn, begun, stage(status))).toEqual({ closes: { costMicros: null }, hold: 'none' })
  })

  test('is settled once where it is paid and only has to be stored again', () => {
    const stores = stage('queued', 'a/1', '{"stage":"store"}')
    expect(follow(stage('running'), begun, stores, 60)).toEqual({ closes: { costMicros: 60 }, hold: 'none' })
    expect(follow(stores, null, { ...stores, status: 'queued' })).toEqual({ closes: null, hold: 'same' })
  })
})
