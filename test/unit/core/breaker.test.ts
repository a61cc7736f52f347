import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Breaker,
  type BreakerEvent,
  initialBreaker,
  isTelling,
  passBreaker,
  releaseProbe,
  stepBreaker,
} from '../../../src/core/breaker.ts'
import { LIMITS } from '../../../src/limits.ts'

const NOW = 1_790_000_000_000

const following = (events: BreakerEvent[], from: Breaker = initialBreaker(), now = NOW): Breaker =>
  events.reduce((breaker, event) => stepBreaker(breaker, event, now), from)

const failures = (count: number): BreakerEvent[] => new Array<BreakerEvent>(count).fill('failure')

const opened = following(failures(LIMITS.breakerFailures))

/** Lets the probe of an open breaker out as soon as it may. */
const probing = (breaker: Breaker): { breaker: Breaker; now: number } => {
  if (breaker.state !== 'open') throw new Error(`is ${breaker.state}`)
  const passage = passBreaker(breaker, breaker.untilMs, 'probe')
  if (!passage.passes) throw new Error('does not pass')
  return { breaker: passage.breaker, now: breaker.untilMs }
}

describe('a closed breaker', () => {
  test('opens at the fifth failure in a row, not at the fourth', () => {
    expect(following(failures(4)).state).toBe('closed')
    expect(opened).toEqual({ state: 'open', untilMs: NOW + LIMITS.breakerOpenMs, openings: 1 })
  })

  test('counts anew after a success', () => {
    expect(following([...failures(4), 'success', ...failures(4)]).state).toBe('closed')
    expect(following([...failures(4), 'success', ...failures(5)]).state).toBe('open')
  })

  test('lets every call out and is not changed by it', () => {
    const breaker = following(failures(3))
    expect(passBreaker(breaker, NOW)).toEqual({ passes: true, breaker })
    expect(releaseProbe(breaker, 'probe')).toBe(breaker)
  })

  test('is opened at once by a trip', () => {
    expect(following(['trip'])).toMatchObject({ state: 'open', untilMs: NOW + LIMITS.credentialCoolMs })
  })
})

describe('an open breaker', () => {
  test('lets nothing out before its time, and says when that is', () => {
    const untilMs = NOW + LIMITS.breakerOpenMs
    expect(passBreaker(opened, NOW)).toEqual({ passes: false, untilMs })
    expect(passBreaker(opened, untilMs - 1)).toEqual({ passes: false, untilMs })
    expect(passBreaker(opened, untilMs).passes).toBe(true)
  })

  test('is not kept open longer by failures of calls that were under way', () => {
    expect(stepBreaker(opened, 'failure', NOW + 1_500)).toBe(opened)
  })

  test('is closed by a good answer to a call that was under way', () => {
    expect(stepBreaker(opened, 'success', NOW + 100)).toEqual(initialBreaker())
  })

  test('does not stay open for a year when the clock was set back by one', () => {
    expect(passBreaker(opened, NOW - 365 * 86_400_000).passes).toBe(true)
  })
})

describe('a half-open breaker', () => {
  test('lets exactly one call out', () => {
    const { breaker, now } = probing(opened)
    expect(breaker).toEqual({ state: 'half_open', openings: 1, probing: true, holder: 'probe' })
    for (const wait of [0, 1, 1_000_000]) {
      expect(passBreaker(breaker, now + wait)).toEqual({ passes: false, untilMs: null })
    }
  })

  test('closes with the success of its probe', () => {
    const { breaker, now } = probing(opened)
    expect(stepBreaker(breaker, 'success', now)).toEqual(initialBreaker())
  })

  test('opens for twice as long with the failure of its probe', () => {
    const { breaker, now } = probing(opened)
    expect(stepBreaker(breaker, 'failure', now)).toEqual({
      state: 'open',
      untilMs: now + 2 * LIMITS.breakerOpenMs,
      openings: 2,
    })
  })

  test('is opened for longer by a trip too', () => {
    const { breaker, now } = probing(opened)
    expect(stepBreaker(breaker, 'trip', now)).toMatchObject({ untilMs: now + 2 * LIMITS.credentialCoolMs })
  })

  test('probes with the next call where a probe ended without a verdict', () => {
    const { breaker, now } = probing(opened)
    const released = releaseProbe(breaker, 'probe')
    const again = passBreaker(released, now, 'probe')
    expect(again).toEqual({ passes: true, breaker })
    expect(passBreaker(breaker, now).passes).toBe(false)
  })

  test('keeps its probe when a call that does not probe ends without a verdict', () => {
    const { breaker, now } = probing(opened)
    expect(releaseProbe(breaker, 'another')).toBe(breaker)
    expect(passBreaker(releaseProbe(breaker, 'another'), now).passes).toBe(false)
  })

  test('frees a probe of which an earlier version kept no holder with the first end, so that it is never stuck', () => {
    const kept: Breaker = { state: 'half_open', openings: 1, probing: true }
    expect(releaseProbe(kept, 'anyone')).toEqual({ state: 'half_open', openings: 1, probing: false })
  })

  test('a probe without a verdict neither shortens nor lengthens the next opening', () => {
    const { breaker, now } = probing(opened)
    expect(stepBreaker(releaseProbe(breaker, 'probe'), 'failure', now)).toEqual(stepBreaker(breaker, 'failure', now))
  })
})

test('of one thing that has opened it only the probe tells, of a closed one every call', () => {
  const { breaker } = probing(following(['trip']))
  const tells = (of: Breaker) => ['probe', 'another'].map((holder) => isTelling(of, holder))
  expect(tells(initialBreaker())).toEqual([true, true])
  expect(tells(following(['trip']))).toEqual([false, false])
  expect(tells(breaker)).toEqual([true, false])
  expect(tells(releaseProbe(breaker, 'probe'))).toEqual([false, false])
})

test('a provider that stays down is asked at doubling intervals, up to two minutes, and no more seldom', () => {
  let breaker = opened
  const waits: number[] = []
  let now = NOW
  for (let i = 0; i < 30; i += 1) {
    if (breaker.state !== 'open') throw new Error(breaker.state)
    waits.push(breaker.untilMs - now)
    const probe = probing(breaker)
    now = probe.now
    breaker = stepBreaker(probe.breaker, 'failure', now)
  }
  expect(waits.slice(0, 8)).toEqual([2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 120_000, 120_000])
  expect(Math.max(...waits)).toBe(LIMITS.breakerOpenMaxMs)
})

test('after it closed, a breaker opens for the shortest time again', () => {
  const { breaker, now } = probing(opened)
  const twice = probing(stepBreaker(breaker, 'failure', now))
  const closed = stepBreaker(twice.breaker, 'success', twice.now)
  expect(following(failures(5), closed)).toEqual(opened)
})

test('in every history of calls and ends without a verdict, one probe is out at most, and none only where it ended', () => {
  const events = fc.array(
    fc.record({ job: fc.nat({ max: 4 }), does: fc.constantFrom('call' as const, 'cancel' as const) }),
    { maxLength: 60 },
  )
  fc.assert(
    fc.property(events, (history) => {
      let breaker: Breaker = { state: 'half_open', openings: 1, probing: false }
      let out: number | null = null
      for (const { job, does } of history) {
        if (does === 'call') {
          const passage = passBreaker(breaker, NOW, `job ${job}`)
          expect(passage.passes).toBe(out === null)
          if (passage.passes) breaker = passage.breaker
          out ??= job
        } else {
          breaker = releaseProbe(breaker, `job ${job}`)
          if (out === job) out = null
        }
      }
    }),
  )
})

type Call = { type: 'call'; wait: number } | { type: 'verdict'; verdict: BreakerEvent | 'none' }

const anyHistory = fc.array(
  fc.oneof(
    fc.record({ type: fc.constant('call' as const), wait: fc.oneof(fc.nat({ max: 500 }), fc.nat({ max: 150_000 })) }),
    fc.record({
      type: fc.constant('verdict' as const),
      verdict: fc.oneof(
        { weight: 6, arbitrary: fc.constant('failure' as const) },
        { weight: 1, arbitrary: fc.constantFrom('success' as const, 'trip' as const, 'none' as const) },
      ),
    }),
  ),
  { maxLength: 150 },
)

/** The breaker as seen from outside: how many failures came in a row, until when it is open, whether a probe is out. */
const everyHistory = (
  check: (before: Breaker, event: Call, now: number, passed: boolean | null, next: Breaker) => void,
) =>
  fc.assert(
    fc.property(anyHistory, (events) => {
      let breaker = initialBreaker()
      let now = NOW
      for (const event of events) {
        const before = breaker
        let passed: boolean | null = null
        if (event.type === 'call') {
          now += event.wait
          const passage = passBreaker(breaker, now)
          passed = passage.passes
          if (passage.passes) breaker = passage.breaker
        } else if (event.verdict === 'none') breaker = releaseProbe(breaker, '')
        else breaker = stepBreaker(breaker, event.verdict, now)
        check(before, event, now, passed, breaker)
      }
    }),
    { numRuns: 300 },
  )

describe('in every history', () => {
  test('no call goes out before the time that an opening named', () => {
    everyHistory((before, _event, now, passed) => {
      if (before.state === 'open' && passed) expect(now).toBeGreaterThanOrEqual(before.untilMs)
      if (passed === false) expect(before.state).not.toBe('closed')
    })
  })

  test('between an opening and the next verdict, one call goes out at most', () => {
    let out = 0
    everyHistory((before, event, _now, passed) => {
      if (event.type === 'verdict') out = 0
      else if (before.state !== 'closed' && passed) out += 1
      else if (before.state === 'closed') out = 0
      expect(out).toBeLessThanOrEqual(1)
    })
  })

  test('it opens by five failures in a row, by a failed probe or by a trip, and by nothing else', () => {
    let row = 0
    everyHistory((before, event, _now, _passed, next) => {
      if (before.state === 'closed' && before.failures === 0) row = 0
      if (event.type === 'verdict' && event.verdict === 'failure') row += 1
      if (event.type === 'verdict' && event.verdict === 'success') row = 0
      if (next.state !== 'open' || before.state === 'open') return
      if (event.type !== 'verdict') throw new Error('a call opened it')
      expect(event.verdict === 'trip' || before.state === 'half_open' || row >= LIMITS.breakerFailures).toBe(true)
    })
  })

  test('it is never open for longer than two minutes, and never stuck: a call passes then or a probe is out', () => {
    everyHistory((_before, _event, now, _passed, next) => {
      if (next.state === 'open') expect(next.untilMs - now).toBeLessThanOrEqual(LIMITS.breakerOpenMaxMs)
      const later = passBreaker(next, now + LIMITS.breakerOpenMaxMs)
      expect(later.passes || (next.state === 'half_open' && next.probing)).toBe(true)
    })
  })
})
