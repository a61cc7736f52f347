import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { verifyReplicateWebhook } from '../../../src/providers/replicate-webhook.ts'
import { type ReplicateEmulator, startReplicate } from '../../emulators/replicate.ts'
import { type Answer, check, clientOf, noErrors, onlyRecord } from './replicate-client.ts'

let replicate: ReplicateEmulator
let client: ReturnType<typeof clientOf>
let receiver: Server
let target: string
/** Answered in this order; 200 when none is left. */
let statuses: number[]
let received: { headers: Headers; body: string }[]

beforeEach(async () => {
  replicate = await startReplicate({ draw: false })
  replicate.control({ allowLoopbackWebhooks: true, webhookRetryMs: 1 })
  client = clientOf(replicate)
  received = []
  statuses = []
  receiver = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => {
      body += chunk.toString()
    })
    request.on('end', () => {
      received.push({ headers: new Headers(request.headers as Record<string, string>), body })
      response.writeHead(statuses.shift() ?? 200).end()
    })
  }).listen(0, '127.0.0.1')
  await once(receiver, 'listening')
  target = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`
})
afterEach(async () => {
  receiver.closeAllConnections()
  receiver.close()
  await replicate.close()
})

const ask = (directives = '', events = ['completed']) =>
  client.create(`a cat ${directives}`, {}, { webhook: target, webhook_events_filter: events })
const secret = async () => {
  const { body } = await client.call('GET', '/webhooks/default/secret')
  return (body as unknown as { key: string }).key
}
const verified = async (at = 0) => {
  const delivery = received[at]
  if (!delivery) throw new Error('no webhook')
  return verifyReplicateWebhook(delivery.headers, delivery.body, await secret(), Date.now())
}
const bodies = () => received.map(({ body }) => JSON.parse(body) as Answer)
const arrived = (count: number) => vi.waitFor(() => expect(received.length).toBe(count))

describe('A webhook', () => {
  it('brings the ended prediction once, signed as the adapter verifies', async () => {
    const { body } = await ask()
    await vi.waitFor(() => expect(onlyRecord(replicate).webhooksDelivered).toBe(1))
    expect(bodies()).toMatchObject([{ id: body.id, status: 'succeeded' }])
    expect(check('prediction_response', bodies()[0])).toBe(noErrors)
    expect(await verified()).toBe(true)
  })

  it('comes for a failure too', async () => {
    await ask('[[async_fail]]')
    await arrived(1)
    expect(bodies()).toMatchObject([{ status: 'failed' }])
  })

  it('comes for the events that are asked for, in their order', async () => {
    await ask('', ['start', 'output', 'logs', 'completed'])
    await arrived(4)
    expect(bodies().map(({ status }) => status)).toEqual(['processing', 'processing', 'succeeded', 'succeeded'])
    expect(new Set(received.map(({ headers }) => headers.get('webhook-id'))).size).toBe(4)
  })

  it('is sent again where it is not taken, with the same id, and given up after three', async () => {
    statuses = [500, 500, 200]
    await ask()
    await arrived(3)
    expect(new Set(received.map(({ headers }) => headers.get('webhook-id'))).size).toBe(1)
    statuses = [500, 500, 500]
    await ask()
    await vi.waitFor(() => expect(replicate.stats().predictions[1]?.webhooksFailed).toBe(1))
    expect(received).toHaveLength(6)
  })

  it('comes before the answer, twice, badly signed or not at all, where a directive says so', async () => {
    await ask('[[webhook_early]]')
    expect(received).toHaveLength(1)
    await ask('[[webhook_twice]]')
    await arrived(3)
    expect(received[1]?.headers.get('webhook-id')).toBe(received[2]?.headers.get('webhook-id'))
    await ask('[[webhook_bad_signature]]')
    await arrived(4)
    expect([await verified(2), await verified(3)]).toEqual([true, false])
    await ask('[[webhook_none]] [[webhook_early]]')
    expect(received).toHaveLength(4)
  })

  it('is signed anew once the secret is rotated', async () => {
    await ask()
    await arrived(1)
    replicate.control({ rotateWebhookSecret: true })
    expect(await verified()).toBe(false)
  })
})
