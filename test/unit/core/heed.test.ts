import { describe, expect, test } from 'vitest'
import type { RateHint, RateHints } from '../../../src/contract/rpc.ts'
import {
  admit,
  heed,
  initialLoad,
  type Limiter,
  type LimiterLoad,
  type LimiterRate,
  paceOf,
  readyAt,
  relax,
  slow,
} from '../../../src/core/admission.ts'
import { LIMITS } from '../../../src/limits.ts'

/** Rate headers: what a provider says is left of its own limits. */

const NOW = 1_790_000_000_000
const MINUTE = 60_000
const NOTHING: RateHints = { requests: null, tokens: null }
const RATES: LimiterRate[] = [
  { id: 'per_minute', limit: 600, windowMs: MINUTE },
  { id: 'per_day', limit: 10_000, windowMs: 24 * 60 * MINUTE },
  { id: 'tokens_per_minute', limit: 60_000, windowMs: MINUTE },
]

const limiter = (rates: LimiterRate[] = RATES, load: LimiterLoad = initialLoad()): Limiter => ({
  name: 'provider',
  rules: { concurrency: 10, rates },
  load,
})
const left = (remaining: number, resetAfterMs: number): RateHint => ({ remaining, resetAfterMs })
const shareAfter = (hints: Partial<RateHints>, rates = RATES): number =>
  heed(limiter(rates), { ...NOTHING, ...hints }, NOW).adaptive.share

describe('what a provider says is left', () => {
  test.each<[what: string, hints: Partial<RateHints>, share: number]>([
    ['nothing said', {}, 1],
    ['calls that last until the reset', { requests: left(300, 30_000) }, 1],
    ['calls for half of the time', { requests: left(150, 30_000) }, 0.5],
    ['tokens for a quarter of the time', { tokens: left(15_000, MINUTE) }, 0.25],
    ['the tighter of the two', { requests: left(150, 30_000), tokens: left(15_000, MINUTE) }, 0.25],
    ['nearly nothing', { requests: left(1, MINUTE) }, LIMITS.adaptiveShareMin],
    ['a limit by the day, which may be used up at once', { requests: left(5_000, 12 * 60 * MINUTE) }, 1],
    ['a reset that is over', { requests: left(1, 0) }, 1],
  ])('narrows by it: %s', (_what, hints, share) => {
    expect(shareAfter(hints)).toBe(share)
  })

  test('says nothing of a rate that nobody has set', () => {
    expect(shareAfter({ requests: left(1, MINUTE), tokens: left(1, MINUTE) }, [])).toBe(1)
    expect(shareAfter({ tokens: left(1, MINUTE) }, RATES.slice(0, 2))).toBe(1)
  })

  test('widens nothing, and changes nothing where it is no news', () => {
    const narrowed = limiter(RATES, slow(slow(initialLoad(), NOW, 0), NOW + MINUTE, 0))
    expect(heed(narrowed, { requests: left(600, MINUTE), tokens: left(30_000, MINUTE) }, NOW)).toBe(narrowed.load)
  })

  test('is nothing: then nothing goes out until the reset, and the pace stays', () => {
    const silent = limiter(RATES, heed(limiter(), { requests: left(0, 4_000), tokens: left(0, 9_000) }, NOW))
    expect(readyAt(silent, 1, NOW)).toBe(NOW + 9_000)
    expect(paceOf(silent, 1)).toBe(paceOf(limiter(), 1))
    const far = heed(limiter(), { requests: left(0, 10 * LIMITS.retryAfterMaxMs), tokens: null }, NOW)
    expect(far.blockedUntilMs).toBe(NOW + LIMITS.retryAfterMaxMs)
  })
})

/** A provider's own count of calls, and what its headers say after each. */
type Counting = { take(now: number): boolean; told(now: number): RateHint }

/** A bucket that flows in again: `reset` is when it is full. */
const bucketOf = (limit: number): Counting => {
  let [level, atMs] = [limit, NOW]
  const flow = (now: number) => {
    level = Math.min(limit, level + ((now - atMs) * limit) / MINUTE)
    atMs = now
  }
  return {
    take: (now) => {
      flow(now)
      if (level < 1) return false
      level -= 1
      return true
    },
    told: () => left(Math.floor(level), Math.ceil(((limit - level) * MINUTE) / limit)),
  }
}

/** A count that begins anew every minute: `reset` is when it does. */
const windowOf = (limit: number): Counting => {
  let [used, sinceMs] = [0, NOW]
  return {
    take: (now) => {
      if (now - sinceMs >= MINUTE) [used, sinceMs] = [0, now - ((now - sinceMs) % MINUTE)]
      used += 1
      return used <= limit
    },
    told: (now) => left(Math.max(0, limit - used), sinceMs + MINUTE - now),
  }
}

/** Calls without a pause for ten minutes, as fast as the limiter lets them out. */
const run = (provider: Counting, heeding: boolean): { served: number; refused: number } => {
  let own = limiter([{ id: 'per_minute', limit: 600, windowMs: MINUTE }])
  let [served, refused] = [0, 0]
  for (let now = NOW; now < NOW + 10 * MINUTE; now = Math.max(now + 1, Math.ceil(readyAt(own, 0, now)))) {
    const admission = admit([own], 0, now)
    const taken = admission.admitted ? admission.loads[0] : undefined
    if (!taken) continue
    let load: LimiterLoad = { ...taken, running: 0 }
    if (provider.take(now)) {
      served += 1
      load = relax(load)
      if (heeding) load = heed({ ...own, load }, { requests: provider.told(now), tokens: null }, now)
    } else {
      refused += 1
      load = slow(load, now, 1_000)
    }
    own = { ...own, load }
  }
  return { served, refused }
}

describe('a limit that is set to twice what the provider allows', () => {
  test.each([
    ['a bucket', bucketOf],
    ['a window', windowOf],
  ])(
    'is found from the headers of one that counts by %s: it is hardly ever refused, and little is left unused',
    (_what, provider) => {
      const [blind, heeding] = [run(provider(300), false), run(provider(300), true)]
      expect(blind.refused).toBeGreaterThan(20)
      expect(heeding.refused).toBeLessThan(blind.refused / 10)
      expect(heeding.served).toBeGreaterThan(0.85 * 3_000)
    },
  )
})
