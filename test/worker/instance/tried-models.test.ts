import { beforeEach, describe, expect, test } from 'vitest'
import { must } from '../support/client.ts'
import { eventually, pause } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'
import { EITHER, FIRST, ONLY_OTHER, OTHER, openTwo } from '../support/two-providers.ts'

let provider: FakeIdeogram
beforeEach(() => {
  provider = fakeIdeogram()
})

describe('a model that was tried', () => {
  test('and refused the input as unsafe is not asked, and paid, again when the provider that the job fell back to is off', async () => {
    const site = await openTwo({ concurrency: 1 })
    const gate = { open: false }
    provider.next.generate.push(async (url) => {
      while (!gate.open) await pause(2)
      return failing(503)(url)
    })
    await site.begin(ONLY_OTHER)
    await eventually('the other is busy', () => provider.open.generate === 1)
    provider.next.generate.push(failing(422, { error: 'the prompt is unsafe' }))
    const { id } = await site.begin({ ...EITHER, on_content_rejected: 'fallback', max_attempts: 5 })
    await eventually('the fallback', async () => (await site.job(id)).model === OTHER)
    await must(200, site.send('PUT', '/providers/replicate', { json: { enabled: false } }))
    const job = await site.job(id)
    gate.open = true
    expect(job).toMatchObject({ status: 'queued', model: OTHER })
    expect(job.attempts.map(({ model, outcome }) => [model, outcome])).toEqual([[FIRST, 'content_rejected']])
    expect(provider.calls.generate).toBe(2)
  })
})
