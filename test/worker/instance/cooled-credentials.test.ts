import { runDurableObjectAlarm } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Credential } from '../../../src/contract/instance.ts'
import { LIMITS } from '../../../src/limits.ts'
import { instanceStub, must, openSite, rowsOf, type Site } from '../support/client.ts'
import { eventually, movableClock, pause } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'

const EMPTY = failing(402, { error: 'no', reject_reason: 'insufficient_funds' })

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

const breaker = async () => {
  const { body } = await must(200, site.send<{ data: Credential[] }>('GET', '/providers/ideogram/credentials'))
  return body.data[0]?.breaker
}
const told = async (type: string) => (await rowsOf('prod', `SELECT 1 FROM events WHERE type = '${type}'`)).length
/** Calls that hang until the gate opens; the usual answer follows where none is given. */
const gated = (gate: { open: boolean }, reply: (url: URL) => Response | Promise<Response>) => async (url: URL) => {
  while (!gate.open) await pause(2)
  return reply(url)
}
const PICTURE = { url: 'https://images.ideogram.example/gen-x/0.png', is_image_safe: true, seed: 7 }
const good = () => Response.json({ generation_id: 'gen-x', data: [PICTURE] })

describe('a credential that ran out of quota', () => {
  test('is not restored by a call that began before and ends well', async () => {
    const gate = { open: false }
    provider.next.generate.push(gated(gate, good))
    const before = await site.begin()
    await eventually('it is called', () => provider.calls.generate === 1)
    provider.next.generate.push(EMPTY)
    expect((await site.ended((await site.begin()).id)).error?.code).toBe('provider_quota_exhausted')
    const next = await site.begin({ fallback: false })
    gate.open = true
    expect((await site.ended(before.id)).status).toBe('succeeded')
    expect(await breaker()).toMatchObject({ state: 'open' })
    expect(await told('credential.restored')).toBe(0)
    expect((await site.job(next.id)).status).toBe('queued')
  })

  test('rests once, however many calls of it were under way and are refused too, and its probe brings it back', async () => {
    const clock = movableClock()
    const now = clock.freeze()
    const gate = { open: false }
    provider.next.generate.push(...Array.from({ length: 3 }, () => gated(gate, EMPTY)))
    const jobs = [await site.begin(), await site.begin(), await site.begin()]
    await eventually('all are called', () => provider.calls.generate === 3)
    gate.open = true
    for (const { id } of jobs) expect((await site.ended(id)).error?.code).toBe('provider_quota_exhausted')
    const until = new Date(now + LIMITS.credentialCoolMs).toISOString()
    expect(await breaker()).toMatchObject({ state: 'open', until })
    expect(await told('credential.cooled')).toBe(1)
    const next = await site.begin({ fallback: false })
    clock.advance(LIMITS.credentialCoolMs)
    await runDurableObjectAlarm(instanceStub('prod'))
    expect((await site.ended(next.id)).status).toBe('succeeded')
    expect(await breaker()).toMatchObject({ state: 'closed' })
    expect(await told('credential.restored')).toBe(1)
  })
})
