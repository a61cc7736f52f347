import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { BlockList, isIP } from 'node:net'
import type { Given } from '../directives.ts'
import type { Handed } from './ledger.ts'

const deliveryTimeoutMs = 10_000

/** Posts one webhook. Resolves to whether the receiver answered 2xx; redirects are not followed. */
export function postWebhook(
  url: string,
  headers: Record<string, string>,
  body: string,
  signal: AbortSignal,
): Promise<boolean> {
  return new Promise((resolve) => {
    const send = url.startsWith('https:') ? requestHttps : requestHttp
    // No agent: a kept-alive connection would outlive the emulator.
    const options = { method: 'POST', headers, agent: false, timeout: deliveryTimeoutMs, signal } as const
    const request = send(url, options, (response) => {
      const status = response.statusCode ?? 0
      response.resume()
      response.once('close', () => resolve(status >= 200 && status < 300))
    })
    request.once('timeout', () => request.destroy())
    request.once('error', () => resolve(false))
    request.end(body)
  })
}

/** Delivers as often as directives say, one after the other, and books what became of each. */
export async function deliver(
  faults: Given<'webhook_twice'>,
  record: Handed,
  attempt: () => Promise<boolean>,
): Promise<void> {
  for (let turn = 0; turn < (faults.has('webhook_twice') ? 2 : 1); turn += 1) {
    if (await attempt()) record.webhooksDelivered += 1
    else record.webhooksFailed += 1
  }
}

/** Why the provider would refuse this webhook URL, or undefined. */
export function problemWithWebhookUrl(text: string, allowLoopback: boolean): string | undefined {
  if (!URL.canParse(text)) return 'webhook_url is not a URL'
  const url = new URL(text)
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase()
  if (allowLoopback && /^https?:$/.test(url.protocol) && isLoopback(host)) return undefined
  if (url.protocol !== 'https:') return 'webhook_url must use https'
  const family = isIP(host)
  const named = host === 'localhost' || /\.(localhost|local|internal)$/.test(host)
  const blocked = family !== 0 && privateAddresses.check(host, family === 6 ? 'ipv6' : 'ipv4')
  return named || blocked ? 'webhook_url must be a public host' : undefined
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

const privateAddresses = new BlockList()
for (const [address, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['224.0.0.0', 3],
] as const) {
  privateAddresses.addSubnet(address, prefix, 'ipv4')
}
for (const [address, prefix] of [
  ['::', 127],
  ['fc00::', 7],
  ['fe80::', 10],
] as const) {
  privateAddresses.addSubnet(address, prefix, 'ipv6')
}
