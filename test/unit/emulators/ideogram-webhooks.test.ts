import { createHash, createPublicKey, type JsonWebKey, verify } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { type IdeogramEmulator, startIdeogram } from '../../emulators/ideogram.ts'
import { type Answer, clientOf, noErrors, onlyRecord, schemaValidator, v2 } from './ideogram-client.ts'

const check = schemaValidator('v2')
let ideogram: IdeogramEmulator
let client: ReturnType<typeof clientOf>
let receiver: Server
let target: string
let received: { headers: IncomingHttpHeaders; body: string }[]

beforeEach(async () => {
  ideogram = await startIdeogram({ draw: false })
  ideogram.control({ allowLoopbackWebhooks: true })
  client = clientOf(ideogram)
  received = []
  receiver = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString()
    })
    request.on('end', () => {
      received.push({ headers: request.headers, body })
      response.writeHead(200).end()
    })
  }).listen(0, '127.0.0.1')
  await once(receiver, 'listening')
  target = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`
})
afterEach(async () => {
  receiver.closeAllConnections()
  receiver.close()
  await ideogram.close()
})

async function isSignatureValid({ headers, body }: (typeof received)[number]): Promise<boolean> {
  const header = (name: string) => String(headers[`x-ideogram-webhook-${name}`])
  const keySet = await (await fetch(`${ideogram.url}/v1/.well-known/jwks.json`)).json()
  const { keys } = keySet as { keys: (JsonWebKey & { kid: string })[] }
  const key = keys.find((candidate) => candidate.kid === header('key-id'))
  if (!key) return false
  const digest = createHash('sha256').update(body).digest('hex')
  const signed = [header('generation-id'), header('user-id'), header('timestamp'), digest].join('\n')
  const signature = Buffer.from(header('signature'), 'hex')
  return verify(null, Buffer.from(signed), createPublicKey({ key, format: 'jwk' }), signature)
}

const ask = (directives = '') => client.generate(`a cat ${directives}`, { async: true, webhook_url: target })

it('sends one webhook whose signature holds against the published key', async () => {
  const { generation_id } = await ask()
  await vi.waitFor(() => expect(onlyRecord(ideogram).webhooksDelivered).toBe(1))
  expect(received).toHaveLength(1)
  const [webhook] = received
  if (!webhook) throw new Error('no webhook')
  const payload = JSON.parse(webhook.body) as Answer
  expect(check('WebhookPayload', payload)).toBe(noErrors)
  expect(payload.generation_id).toBe(generation_id)
  expect(webhook.headers['x-ideogram-webhook-generation-id']).toBe(generation_id)
  expect(webhook.headers['x-ideogram-webhook-signature']).toMatch(/^[0-9a-f]{128}$/)
  expect(await isSignatureValid(webhook)).toBe(true)
  expect(await isSignatureValid({ ...webhook, body: `${webhook.body} ` })).toBe(false)
})

it('keeps the former key in the set after rotation and signs with the new one', async () => {
  await ask()
  await vi.waitFor(() => expect(received).toHaveLength(1))
  ideogram.control({ rotateWebhookKey: true })
  await ask()
  await vi.waitFor(() => expect(received).toHaveLength(2))
  const ids = received.map(({ headers }) => headers['x-ideogram-webhook-key-id'])
  expect(ids[0]).not.toBe(ids[1])
  for (const webhook of received) expect(await isSignatureValid(webhook)).toBe(true)
})

it('can sign wrongly, send twice, or stay silent', async () => {
  await ask('[[webhook_bad_signature]] [[webhook_twice]]')
  await vi.waitFor(() => expect(received).toHaveLength(2))
  for (const webhook of received) expect(await isSignatureValid(webhook)).toBe(false)
  await ask('[[webhook_none]]')
  await vi.waitFor(() => expect(ideogram.stats().completed).toBe(2))
  expect(received).toHaveLength(2)
})

it('can send the webhook before the acceptance is answered', async () => {
  const answered = ask('[[webhook_early]]').then(() => received.length)
  expect(await answered).toBe(1)
})

it('sends none after a failure and none for a synchronous request', async () => {
  await ask('[[async_fail:broken]]')
  await client.generate('a cat', { webhook_url: target })
  expect(ideogram.stats()).toMatchObject({ completed: 1, failed: 1 })
  expect(received).toHaveLength(0)
})

it('counts a receiver that refuses as not delivered', async () => {
  receiver.removeAllListeners('request')
  receiver.on('request', (_request, response) => response.writeHead(500).end())
  await ask()
  await vi.waitFor(() => expect(onlyRecord(ideogram)).toMatchObject({ webhooksDelivered: 0, webhooksFailed: 1 }))
})

it.each([
  'http://example.com/hook',
  'https://localhost/hook',
  'https://127.0.0.1/hook',
  'https://10.1.2.3/hook',
  'https://169.254.169.254/hook',
  'https://[::1]/hook',
  'https://[fd00::1]/hook',
  'https://metadata.google.internal/hook',
])('refuses the webhook URL %s as the wire does', async (url) => {
  ideogram.control({ allowLoopbackWebhooks: false })
  const response = await client.post(v2('ideogram-3'), { prompt: 'a', async: true, webhook_url: url })
  expect(response.status).toBe(400)
})
