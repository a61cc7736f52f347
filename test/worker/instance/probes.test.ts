import { expect, test } from 'vitest'
import { fault } from '../../../src/contract/fault.ts'
import type { CallEnd } from '../../../src/contract/foreground-rpc.ts'
import type { ProviderView } from '../../../src/contract/instance.ts'
import type { Job } from '../../../src/contract/job.ts'
import { usageOf } from '../../../src/contract/usage.ts'
import { LIMITS } from '../../../src/limits.ts'
import { openSite } from '../support/client.ts'
import { eventually, movableClock, pause } from '../support/clock.ts'
import { failing, fakeIdeogram } from '../support/fake-ideogram.ts'
import { close, DOWN, END, open, openLine } from '../support/line.ts'

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

/** Part of an answer has gone out: no other attempt may follow. */
const LAST = { delivered: true }

test.each<[string, Partial<CallEnd>]>([
  ['that its client left before it was sent', { fault: fault('canceled', 'x'), abandoned: true, usage: usageOf({}) }],
  ['for which no credential could be opened', { fault: fault('no_provider', 'x'), usage: usageOf({}) }],
  ['that had no answer by its deadline', { fault: fault('deadline_exceeded', 'x') }],
])('a probe %s does not show that the provider is well again: the next call probes', async (_what, end) => {
  const clock = movableClock()
  clock.freeze()
  const site = await openLine()
  const state = async () => (await site.send<ProviderView>('GET', '/providers/openai')).body.breaker.state
  for (let i = 0; i < LIMITS.breakerFailures; i += 1) await close(await open(), { ...DOWN, ...LAST })
  expect(await state()).toBe('open')
  clock.advance(LIMITS.breakerOpenMs)
  await close(await open(), { ...END, ...LAST, ...end })
  expect(await state()).toBe('half_open')
  await close(await open(), { ...END, ...LAST, usage: usageOf({ inputTokens: 1, outputTokens: 1 }) })
  expect(await state()).toBe('closed')
})
