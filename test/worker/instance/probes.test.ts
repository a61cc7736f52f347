import { expect, test } from 'vitest'
import type { Job } from '../../../src/contract/job.ts'
import { LIMITS } from '../../../src/limits.ts'
import { openSite } from '../support/client.ts'
import { eventually, movableClock, pause } from '../support/clock.ts'
import { failing, fakeIdeogram } from '../support/fake-ideogram.ts'

test('a job canceled beside the probe of a half-open breaker lets no second probe out', async () => {
  const clock = movableClock()
  const provider = fakeIdeogram()
  const site = await openSite('prod')
  const gate = { open: false }
  /** Hangs until the gate opens, then says that the provider is still down. */
  const gated = async (url: URL) => {
    while (!gate.open) await pause(2)
    return failing(503)(url)
  }

  provider.next.generate.push(gated)
  const beside = await site.begin()
  await eventually('the bystander is called', () => provider.calls.generate === 1)
  provider.next.generate.push(...Array.from({ length: LIMITS.breakerFailures }, () => failing(503)))
  const failed = await Promise.all(
    Array.from({ length: LIMITS.breakerFailures }, () => site.begin({ max_attempts: 1, fallback: false })),
  )
  for (const { id } of failed) expect((await site.ended(id)).status).toBe('failed')

  clock.advance(LIMITS.breakerOpenMs)
  provider.next.generate.push(gated)
  const probe = await site.begin({ fallback: false })
  const next = await site.begin({ fallback: false })
  expect([(await site.job(probe.id)).status, (await site.job(next.id)).status]).toEqual(['running', 'queued'])

  await site.send('POST', `/jobs/${beside.id}/cancel`)
  expect((await site.job(next.id)).queue).toMatchObject({ waiting_for: 'breaker' })

  // The probe itself, canceled, hands its place on.
  await site.send<Job>('POST', `/jobs/${probe.id}/cancel`)
  expect((await site.ended(next.id)).status).toBe('succeeded')
  gate.open = true
})
