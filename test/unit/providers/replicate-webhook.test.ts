import { createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { verifyReplicateWebhook } from '../../../src/providers/replicate-webhook.ts'

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
const NOW = Date.parse('2026-11-20T12:00:00Z')
const BODY = '{"id":"p1","status":"succeeded","output":["https://replicate.delivery/a"]}'

const sign = (body: string, id: string, seconds: number, secret = SECRET) =>
  `v1,${createHmac('sha256', Buffer.from(secret.slice(6), 'base64'))
    .update(`${id}.${seconds}.${body}`)
    .digest('base64')}`

type Sent = { id?: string; seconds?: number; body?: string; signature?: string }
const headersOf = ({ id = 'msg_1', seconds = NOW / 1000, body = BODY, signature }: Sent = {}) =>
  new Headers({
    'webhook-id': id,
    'webhook-timestamp': String(seconds),
    'webhook-signature': signature ?? sign(body, id, seconds),
  })
const verify = (headers: Headers, body = BODY, secret = SECRET) => verifyReplicateWebhook(headers, body, secret, NOW)

describe('A webhook of Replicate', () => {
  it('holds where the secret signed it', async () => {
    expect(await verify(headersOf())).toBe(true)
  })

  it('holds by the example that Standard Webhooks gives', async () => {
    const headers = new Headers({
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    })
    expect(await verifyReplicateWebhook(headers, '{"test": 2432232314}', SECRET, 1_614_265_330_000)).toBe(true)
  })

  it('holds a second time: a duplicate is for the receiver to take without harm', async () => {
    const headers = headersOf()
    expect([await verify(headers), await verify(headers)]).toEqual([true, true])
  })

  it('holds where one of several signatures does, as while a secret is rotated', async () => {
    const other = sign(BODY, 'msg_1', NOW / 1000, 'whsec_AAAAAAAAAAAAAAAAAAAAAAAA')
    const good = sign(BODY, 'msg_1', NOW / 1000)
    expect(await verify(headersOf({ signature: `${other} v2,xyz ${good}` }))).toBe(true)
    expect(await verify(headersOf({ signature: other }))).toBe(false)
  })

  it('holds five minutes either way, and no longer', async () => {
    for (const [seconds, holds] of [
      [-300, true],
      [-301, false],
      [300, true],
      [301, false],
    ] as const) {
      expect(await verify(headersOf({ seconds: NOW / 1000 + seconds }))).toBe(holds)
    }
  })

  it.each<[string, Headers, string, string]>([
    ['another body', headersOf(), `${BODY} `, SECRET],
    ['another secret', headersOf(), BODY, 'whsec_AAAAAAAAAAAAAAAAAAAAAAAA'],
    ['no secret', headersOf(), BODY, ''],
    ['a secret that is not base64', headersOf(), BODY, 'whsec_***'],
    [
      'a signature without its version',
      headersOf({ signature: sign(BODY, 'msg_1', NOW / 1000).slice(3) }),
      BODY,
      SECRET,
    ],
    ['a signature that is not base64', headersOf({ signature: 'v1,***' }), BODY, SECRET],
    ['an empty signature', headersOf({ signature: 'v1,' }), BODY, SECRET],
    ['another id', headersOf({ id: 'msg_2', signature: sign(BODY, 'msg_1', NOW / 1000) }), BODY, SECRET],
    ['no headers', new Headers(), BODY, SECRET],
    [
      'a time that is no number',
      new Headers({ ...Object.fromEntries(headersOf()), 'webhook-timestamp': '1e9' }),
      BODY,
      SECRET,
    ],
  ])('with %s does not', async (_what, headers, body, secret) => {
    expect(await verify(headers, body, secret)).toBe(false)
  })
})
