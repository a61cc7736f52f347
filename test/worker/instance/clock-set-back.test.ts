import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test'
import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../src/limits.ts'
import { ring } from '../support/actor.ts'
import { laneRows, laneStub, must, openSite, type Site } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'
import { open, openLine } from '../support/line.ts'

/** A job that is at its provider when the clock goes back by so much. */
const setBackDuringCall = async (ms: number, prepare: (provider: FakeIdeogram) => void = () => {}) => {
  const clock = movableClock()
  const provider = fakeIdeogram()
  const site = await openSite('prod')
  provider.hold('generate')
  prepare(provider)
  const { id } = await site.begin({ fallback: false })
  await eventually('it is called', () => provider.open.generate === 1)
  clock.advance(-ms)
  return { clock, provider, site, id }
}
const listed = async (site: Site) =>
  (await must(200, site.send<{ data: { id: string }[] }>('GET', '/jobs'))).body.data.map(({ id }) => id)

describe('where the clock is set back', () => {
  test('a job that was at its provider can be read, alone and in the list', async () => {
    const { provider, site, id } = await setBackDuringCall(60_000)
    provider.release('generate')
    expect((await site.ended(id)).status).toBe('succeeded')
    expect(await listed(site)).toEqual([id])
  })

  test('a job that failed once is tried again, and is not lost', async () => {
    const { provider, site, id } = await setBackDuringCall(5_000, ({ next }) => next.generate.push(failing(503)))
    provider.release('generate')
    const job = await site.ended(id)
    expect(job.status).toBe('succeeded')
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['provider_unavailable', 'done'])
  })

  test('and the process crashes, what was at its provider is not bought again', async () => {
    const { clock, provider, site, id } = await setBackDuringCall(60_000)
    await abortAllDurableObjects()
    provider.release('generate')
    await ring()
    clock.advance(LIMITS.leaseMs + 1_000)
    await ring()
    expect(await site.ended(id)).toMatchObject({ status: 'failed', error: { code: 'outcome_unknown' } })
    expect(provider.calls.generate).toBe(1)
  })

  test('a call whose Worker died is given up after its lease, also beside one from before', async () => {
    const clock = movableClock()
    const site = await openLine()
    await open({ deadlineS: 3600 })
    clock.advance(-1_800_000)
    const { job } = await open({ deadlineS: 3600 })
    clock.advance(LIMITS.foregroundLeaseMs + 1_000)
    await ring()
    expect((await site.job(job)).status).toBe('failed')
  })

  test('a generation under way is asked after soon', async () => {
    const clock = movableClock()
    fakeIdeogram()
    const site = await openSite('prod')
    const { id } = await site.begin({ deadline_s: 7200, input: { prompt: 'a lighthouse' } })
    await eventually(
      'the provider works',
      async () => (await laneRows('prod', 'SELECT job FROM attempts')).length === 1,
    )
    clock.advance(-1_800_000)
    for (let checks = 0; checks < 4; checks += 1) {
      clock.advance(LIMITS.laneCheckMs)
      await ring()
      await runDurableObjectAlarm(laneStub('prod'))
    }
    expect((await site.ended(id)).status).toBe('succeeded')
  })

  test('a retry is made soon', async () => {
    const clock = movableClock()
    const provider = fakeIdeogram()
    const site = await openSite('prod')
    provider.next.generate.push(failing(503))
    const { id } = await site.begin({ deadline_s: 7200, fallback: false })
    await eventually('it waits', async () => (await site.job(id)).status === 'queued')
    clock.advance(-1_800_000)
    for (let waits = 0; waits < 4; waits += 1) {
      clock.advance(LIMITS.backoffMaxMs)
      await ring()
    }
    expect((await site.ended(id)).status).toBe('succeeded')
  })

  test('a job keeps the time that its client has asked for', async () => {
    const clock = movableClock()
    const now = clock.freeze()
    fakeIdeogram()
    const site = await openSite('prod')
    const at = new Date(now + 3_600_000).toISOString()
    const { id } = await site.begin({ not_before: at })
    clock.advance(-1_800_000)
    await ring()
    await site.begin()
    expect((await site.job(id)).queue?.estimated_start_at).toBe(at)
  })
})
