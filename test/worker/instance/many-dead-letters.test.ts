import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Discarded, Replay } from '../../../src/contract/dead-letter.ts'
import type { Job } from '../../../src/contract/job.ts'
import { LIMITS } from '../../../src/limits.ts'
import { instanceStub, must, openSite, type Site } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, fakeIdeogram } from '../support/fake-ideogram.ts'
import { failJobs, letters } from '../support/letters.ts'

/** More dead letters than one look covers. */

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

/** Copies of a failed job, failed before it one after the other, with a code of their own. */
const copy = (of: Job | undefined, count: number, code: string, firstAtMs: number): Promise<void> =>
  runInDurableObject(instanceStub('prod'), (_instance, { storage }) => {
    storage.sql.exec(
      `INSERT INTO jobs (id, status, provider, model, tag, queued_at_ms, tokens, attempt, counted, deadline_at_ms,
         created_at_ms, started_at_ms, ended_at_ms, type, project, priority, request_id, input, wishes, metadata, fault)
       WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
       SELECT printf('job_%026d', ?2 + i), status, provider, model, tag, queued_at_ms, tokens, attempt, counted,
         deadline_at_ms, created_at_ms, started_at_ms, ?2 + i, type, project, priority, request_id, input, wishes,
         metadata, json_set(fault, '$.code', ?3) FROM jobs, n WHERE id = ?4`,
      count,
      firstAtMs,
      code,
      of?.id ?? '',
    )
  })

const BULK = LIMITS.deadLettersPerScan * 2 + 10

describe('behind more dead letters than one look covers', () => {
  test('a page of a filter that matches little goes on where it stopped, and misses none', async () => {
    const [newest] = await failJobs(site, provider, 1)
    await copy(newest, BULK, 'outcome_unknown', 1_000_000)
    await copy(newest, 1, 'provider_rejected', 1_000)
    const found: string[] = []
    let pages = 0
    for (let next: string | null = ''; next !== null && pages < 20; pages += 1) {
      const after: string = next && `&after=${next}`
      const page = await letters(site, `?code=provider_rejected&limit=5${after}`)
      found.push(...page.data.map(({ id }) => id))
      next = page.next
    }
    expect(found).toEqual([newest?.id, `job_${String(1_001).padStart(26, '0')}`])
    expect(pages).toBeGreaterThan(2)
  })

  test('a replay by filter comes to those that match, in steps', async () => {
    const clock = movableClock()
    const [newest] = await failJobs(site, provider, 1)
    await copy(newest, BULK, 'outcome_unknown', 1_000_000)
    clock.freeze()
    const request = { json: { code: 'provider_rejected', rate_per_minute: 1 } }
    const { body } = await must(202, site.send<Replay>('POST', '/dead-letters/replay', request))
    expect(body).toMatchObject({ matched: 1, replayed: 0 })
    for (let step = 0; step < 3; step += 1) await runDurableObjectAlarm(instanceStub('prod'))
    const replay = await site.send<Replay>('GET', `/dead-letters/replays/${body.id}`)
    expect(replay.body).toMatchObject({ status: 'completed', matched: 1, replayed: 1 })
    expect((await site.job(newest?.id ?? '')).replays).toBe(1)
  })

  test('discarding takes a bounded number in a call and says that there is more', async () => {
    const [newest] = await failJobs(site, provider, 1)
    await copy(newest, LIMITS.discardsPerCall + 5, 'outcome_unknown', 1_000_000)
    const discard = async () => {
      const request = { json: { code: 'outcome_unknown' } }
      return (await must(200, site.send<Discarded>('POST', '/dead-letters/discard', request))).body
    }
    expect(await discard()).toEqual({ discarded: LIMITS.discardsPerCall, more: true })
    expect(await discard()).toEqual({ discarded: 5, more: false })
    expect((await letters(site)).data.map(({ id }) => id)).toEqual([newest?.id])
  })

  test('a summary and a replay cover the oldest, and say so', async () => {
    const clock = movableClock()
    const [newest] = await failJobs(site, provider, 1)
    await copy(newest, LIMITS.deadLettersPerReplay, 'outcome_unknown', 1_000_000)
    expect((await letters(site, '?summary=true&limit=1')).summary).toEqual({
      total: LIMITS.deadLettersPerReplay,
      codes: { outcome_unknown: LIMITS.deadLettersPerReplay },
      complete: false,
    })
    clock.freeze()
    const order = async (json: Record<string, unknown>) =>
      (await must(202, site.send<Replay>('POST', '/dead-letters/replay', { json }))).body
    expect(await order({ code: 'provider_rejected' })).toMatchObject({ matched: 0, complete: false })
    const late = { code: 'provider_rejected', from: newest?.ended_at, rate_per_minute: 1 }
    expect(await order(late)).toMatchObject({ matched: 1, complete: true })
    await eventually('the latest is replayed', async () => {
      await runDurableObjectAlarm(instanceStub('prod'))
      return (await site.job(newest?.id ?? '')).replays === 1
    })
    expect(await order({ rate_per_minute: 1 })).toMatchObject({ matched: LIMITS.deadLettersPerReplay, complete: true })
  })
})
