import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Replicate, { validateWebhook } from 'replicate'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type ReplicateEmulator, startReplicate } from '../emulators/replicate.ts'

const model = 'black-forest-labs/flux-schnell'
const input = { prompt: 'a cat', num_outputs: 2 }

describe('The official client of Replicate with the emulator', () => {
  let emulator: ReplicateEmulator
  let client: Replicate
  beforeAll(async () => {
    emulator = await startReplicate({ apiKeys: ['r8_token'], draw: false })
    client = new Replicate({ auth: 'r8_token', baseUrl: `${emulator.url}/v1` })
  })
  afterEach(() => emulator.reset())
  afterAll(() => emulator.close())

  it('runs a model, held as recorded: its files come as data', async () => {
    const files = (await client.run(model, { input })) as { blob(): Promise<Blob> }[]
    expect(files).toHaveLength(2)
    const bytes = await (await files[0]?.blob())?.bytes()
    expect(bytes?.subarray(1, 4)).toEqual(new TextEncoder().encode('PNG'))
  })

  it('runs a model by polling, and tells of its progress', async () => {
    const seen: string[] = []
    const wait = { mode: 'poll', interval: 10 } as const
    const output = await client.run(model, { input, wait }, ({ status }) => void seen.push(status))
    expect(output).toEqual([expect.stringMatching(/^http/), expect.stringMatching(/^http/)])
    expect([seen[0], seen.at(-1)]).toEqual(['starting', 'succeeded'])
  })

  it('runs a pinned version', async () => {
    const { latest_version: version } = await client.models.get('black-forest-labs', 'flux-schnell')
    emulator.control({ waitAnswer: 'final' })
    expect(await client.run(`${model}:${version?.id}` as `${string}/${string}:${string}`, { input })).toHaveLength(2)
  })

  it('throws what a prediction failed of', async () => {
    const unsafe = { prompt: 'a cat [[unsafe]]' }
    await expect(client.run(model, { input: unsafe })).rejects.toThrow('Prediction failed: NSFW content detected.')
  })

  it('creates, gets, waits, cancels and lists', async () => {
    const made = await client.predictions.create({ model, input })
    expect(made).toMatchObject({ status: 'starting', source: 'api', version: 'hidden' })
    expect(await client.wait(made, { interval: 10 })).toMatchObject({ id: made.id, status: 'succeeded' })
    const running = await client.predictions.create({ model, input: { prompt: 'a cat [[slow:60000]]' } })
    expect(await client.predictions.get(running.id)).toMatchObject({ status: 'processing' })
    expect(await client.predictions.cancel(running.id)).toMatchObject({ status: 'canceled' })
    const { results } = await client.predictions.list()
    expect(results.map(({ id }) => id)).toEqual([running.id, made.id])
  })

  it('leafs through the list', async () => {
    emulator.control({ pageSize: 2 })
    for (let at = 0; at < 5; at += 1) await client.predictions.create({ model, input })
    const sizes: number[] = []
    for await (const page of client.paginate(client.predictions.list)) sizes.push(page.length)
    expect(sizes).toEqual([2, 2, 1])
  })

  it('holds a create for as long as it says', async () => {
    const slow = { prompt: 'a cat [[slow:60000]]' }
    expect(await client.predictions.create({ model, input: slow, wait: 1 })).toMatchObject({ status: 'starting' })
    emulator.control({ waitAnswer: 'final' })
    expect(await client.predictions.create({ model, input, wait: true })).toMatchObject({ status: 'succeeded' })
  })

  it('validates a webhook with the secret it fetches', async () => {
    emulator.control({ allowLoopbackWebhooks: true })
    const receiver = createServer().listen(0, '127.0.0.1')
    await once(receiver, 'listening')
    const webhook = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`
    const arriving = once(receiver, 'request')
    await client.predictions.create({ model, input, webhook, webhook_events_filter: ['completed'] })
    const [request, response] = await arriving
    let body = ''
    for await (const chunk of request) body += chunk
    response.end()
    const { key } = await client.webhooks.default.secret.get()
    const header = (name: string) => String(request.headers[`webhook-${name}`])
    const sent = { id: header('id'), timestamp: header('timestamp'), signature: header('signature'), body }
    expect(JSON.parse(body)).toMatchObject({ status: 'succeeded' })
    expect(await validateWebhook({ ...sent, secret: key })).toBe(true)
    expect(await validateWebhook({ ...sent, body: `${body} `, secret: key })).toBe(false)
    await new Promise((resolve) => receiver.close(resolve))
  })

  it('is told of its account, and of a token that is refused', async () => {
    expect(await client.accounts.current()).toMatchObject({ type: 'user', username: 'emulated' })
    const stranger = new Replicate({ auth: 'wrong', baseUrl: `${emulator.url}/v1` })
    await expect(stranger.predictions.create({ model, input })).rejects.toThrow('401')
  })
})
