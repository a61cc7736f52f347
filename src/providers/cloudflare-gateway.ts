import type { AiGatewayRoute } from '../contract/route.ts'
import { type Answered, commonFault, faultOf, isSuccess, parseJson } from './answers.ts'
import { cloudflareCode, cloudflareFault } from './cloudflare-faults.ts'
import type { ChatDialect, EmbedDialect, Encoded } from './dialect.ts'
import { withId } from './openai-faults.ts'
import { openAiWaitMs } from './openai-rate.ts'
import type { Failed } from './provider.ts'

/**
 * Cloudflare AI Gateway as a way to a provider (https://developers.cloudflare.com/ai-gateway/): the provider's own dialect
 * under another address, with the gateway's headers and its own few errors. Retries are Switchyard's alone: both would
 * multiply, so the gateway is told to try once.
 */

/** What the gateway calls a provider in its addresses. */
const SLUGS: Record<string, string> = {
  openai: 'openai',
  anthropic: 'anthropic',
  google: 'google-ai-studio',
  replicate: 'replicate',
  ideogram: 'ideogram',
  'workers-ai': 'workers-ai/v1',
}

const GATEWAY_ORIGIN = 'https://gateway.ai.cloudflare.com'

/** The base of a provider's addresses behind a gateway, or null for a provider that the gateway does not know. */
export const gatewayBaseUrl = (
  { account, gateway, origin = GATEWAY_ORIGIN }: Pick<AiGatewayRoute, 'account' | 'gateway' | 'origin'>,
  provider: string,
): string | null => {
  const slug = Object.hasOwn(SLUGS, provider) ? SLUGS[provider] : undefined
  return slug === undefined
    ? null
    : `${origin}/v1/${encodeURIComponent(account)}/${encodeURIComponent(gateway)}/${slug}`
}

/**
 * The secret of a credential is the provider's, or `cf-aig={gateway token};{provider's secret}` where the gateway asks for a
 * token too. With a token and nothing behind it the gateway brings the provider's key itself. Split for every call: a token
 * is nothing that a provider should see, by whatever way.
 */
export const splitSecret = (secret: string): { token: string | null; secret: string } => {
  const [, token, rest] = /^cf-aig=([^;\s]+);(.*)$/s.exec(secret) ?? []
  return token === undefined ? { token: null, secret } : { token, secret: rest ?? '' }
}

/** How calls of one provider pass the gateway. */
export type Passage = {
  provider: string
  token: string | null
  /** Whether an answer may come from the gateway's cache. */
  cache: boolean
}

export const viaGateway = <D extends ChatDialect | EmbedDialect>(dialect: D, passage: Passage): D => {
  // Both kinds of dialect have these two, over calls that differ only in what is not touched here.
  const inner = dialect as ChatDialect
  return {
    ...dialect,
    encode: (call: Parameters<ChatDialect['encode']>[0]): Encoded => {
      const encoded = inner.encode(call)
      return { ...encoded, headers: { ...encoded.headers, ...gatewayHeaders(passage) } }
    },
    decode: (call: Parameters<ChatDialect['decode']>[0], answer: Answered) =>
      gatewayFault(answer, passage.provider, call.nowMs) ?? inner.decode(call, answer),
  }
}

export const gatewayHeaders = ({ token, cache }: Passage): Record<string, string> => ({
  'cf-aig-max-attempts': '1',
  ...(cache ? {} : { 'cf-aig-skip-cache': 'true' }),
  ...(token === null ? {} : { 'cf-aig-authorization': `Bearer ${token}` }),
})

/** Whether the answer came from the gateway's cache, and so cost nothing. */
export const isFromGatewayCache = (headers: Headers): boolean => headers.get('cf-aig-cache-status') === 'HIT'

/** An error of the gateway's own; null where the provider answered. */
export const gatewayFault = (answer: Answered, provider: string, nowMs: number): Failed | null => {
  if (isSuccess(answer.status)) return null
  const code = cloudflareCode(parseJson(answer.body))
  // Workers AI speaks the same envelope, with other numbers.
  if (code === null || (provider === 'workers-ai' && !isGatewayCode(code))) return null
  const waitMs = openAiWaitMs(answer.status, answer.headers, nowMs)
  const wait = waitMs === null ? {} : { retryAfterMs: waitMs }
  const found =
    cloudflareFault('AI Gateway', code, wait, nowMs) ??
    commonFault('AI Gateway', answer.status, wait) ??
    faultOf('provider_rejected', `AI Gateway refused the request (status ${answer.status}, code ${code}).`)
  return withId(found, answer)
}

const isGatewayCode = (code: number): boolean => code >= 2_000 && code < 3_000
