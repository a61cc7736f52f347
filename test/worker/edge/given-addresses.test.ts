import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { ErrorBody } from '../../../src/contract/fault.ts'
import { must, openSite, type Site } from '../support/client.ts'

/** What a client may have a provider fetch: with `ALLOW_PRIVATE_UPSTREAMS` not `true`, nothing of an inner network. */

const INNER = 'http://10.0.0.7:8080/admin'
const MODEL = 'vllm/any'

let site: Site
let asked: unknown[]
beforeEach(async () => {
  asked = []
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (_input, init) => {
    asked.push(await new Response(init?.body as BodyInit).json())
    return Response.json({
      choices: [{ index: 0, message: { role: 'assistant', content: 'A cat' }, finish_reason: 'stop' }],
    })
  })
  site = await openSite('prod')
  await must(200, site.send('PUT', '/providers/vllm', { json: { base_url: 'https://vllm.example/v1' } }))
})

const seeing = (url: string) => ({
  messages: [
    { role: 'system', content: 'Say what you see.' },
    {
      role: 'user',
      content: [
        { type: 'text', text: 'What is this?' },
        { type: 'image_url', image_url: { url } },
      ],
    },
  ],
})
const PLACE = 'messages.1.content.1.image_url.url'
const job = (input: object, type = 'text.generate', model = MODEL) => ({ type, input, models: [model] })
const painting = (image: string) => ({
  prompt: 'a lighthouse',
  provider_options: { replicate: { image } },
})
const FLUX = 'replicate/black-forest-labs/flux-dev'

const refusedAt = async (path: string, json: object, param: string) => {
  const { status, body } = await site.send<ErrorBody>('POST', path, { json })
  expect([path, status, body.error]).toMatchObject([path, 400, { code: 'invalid_request', param }])
  expect(body.error.message).not.toContain('10.0.0.7')
  const { body: jobs } = await site.send<{ data: unknown[] }>('GET', '/jobs')
  expect([asked, jobs.data]).toEqual([[], []])
}

describe('a picture by address', () => {
  test('of an inner network is not asked for through a server of one’s own by a chat', async () => {
    await refusedAt('/chat/completions', { model: MODEL, ...seeing(INNER) }, PLACE)
    await refusedAt('/chat/completions', { model: MODEL, ...seeing(INNER), stream: true }, PLACE)
    await refusedAt('/chat/completions', { model: 'openai/gpt-5-mini', ...seeing('https://localhost/a.png') }, PLACE)
  })

  test('of an inner network is not asked for through a server of one’s own by a job, or one of a batch', async () => {
    await refusedAt('/jobs', job(seeing(INNER)), `input.${PLACE}`)
    const good = job({ messages: [{ role: 'user', content: 'Hello' }] })
    await refusedAt('/batches', { jobs: [good, job(seeing(INNER))] }, `jobs.1.input.${PLACE}`)
  })

  test('of an inner network is not passed on by a job for images, or by images/generations', async () => {
    const param = 'provider_options.replicate.image'
    const input = painting('https://10.0.0.7/a.png')
    await refusedAt('/jobs', job(input, 'image.generate', FLUX), `input.${param}`)
    await refusedAt('/images/generations', { model: FLUX, ...input }, param)
  })

  test('of an inner network is not passed on in a field of a server’s own', async () => {
    const messages = [{ role: 'user', content: 'Hello' }]
    const provider_options = { vllm: { documents: [{ text: 'a' }, { url: INNER }] } }
    const param = 'provider_options.vllm.documents.1.url'
    await refusedAt('/chat/completions', { model: MODEL, messages, provider_options }, param)
  })

  test('of the public internet is passed on as it stands', async () => {
    const url = 'http://Pictures.example/a%20cat.png?size=1#top'
    await must(200, site.send('POST', '/chat/completions', { json: { model: MODEL, ...seeing(url) } }))
    expect(asked).toMatchObject([seeing(url)])
  })
})
