import { type Answered, isSuccess, parseJson } from './answers.ts'
import { cloudflareCode, cloudflareFault } from './cloudflare-faults.ts'
import type { ChatDialect, EmbedDialect, Encoded } from './dialect.ts'
import { withId } from './openai-faults.ts'
import { openAiWaitMs } from './openai-rate.ts'
import type { Failed } from './provider.ts'

/**
 * Cloudflare AI Gateway as a way to a provider (https://developers.cloudflare.com/ai-gateway/): the provider's own dialect
 * under another address, with the gateway's headers and its own few errors. Retries are Switchyard's alone: both would
 * multiply, so the gateway is told to try once.
 *
 * The secret of a call is the provider's, or `cf-aig={gateway token};{provider's secret}` where the gateway asks for a token
 * too. With a token and nothing behind it the gateway brings the provider's key itself.
 */
export const viaGateway = <D extends ChatDialect | EmbedDialect>(dialect: D): D => {
  // Both kinds of dialect have these two, over calls that differ only in what is not touched here.
  const inner = dialect as ChatDialect
  return {
    ...dialect,
    encode: (call: Parameters<ChatDialect['encode']>[0]): Encoded => {
      const { token, secret } = splitSecret(call.secret)
      const encoded = inner.encode({ ...call, secret })
      return {
        ...encoded,
        headers: {
          ...encoded.headers,
          'cf-aig-max-attempts': '1',
          ...(token === null ? {} : { 'cf-aig-authorization': `Bearer ${token}` }),
        },
      }
    },
    decode: (call: Parameters<ChatDialect['decode']>[0], answer: Answered) =>
      gatewayFault(answer, call.nowMs) ?? inner.decode({ ...call, secret: splitSecret(call.secret).secret }, answer),
  }
}

/** What the gateway calls a provider in its addresses. */
const SLUGS: Record<string, string> = {
  openai: 'openai',
  anthropic: 'anthropic',
  google: 'google-ai-studio',
  replicate: 'replicate',
  ideogram: 'ideogram',
  'workers-ai': 'workers-ai/v1',
}

export const GATEWAY_ORIGIN = 'https://gateway.ai.cloudflare.com'

/** The base of a provider's addresses behind a gateway, or null for a provider that the gateway does not know. */
export const gatewayBaseUrl = (
  route: { account: string; gateway: string; origin?: string },
  provider: string,
): string | null => {
  const slug = SLUGS[provider]
  if (slug === undefined) return null
  const { account, gateway, origin = GATEWAY_ORIGIN } = route
  return `${origin}/v1/${encodeURIComponent(account)}/${encodeURIComponent(gateway)}/${slug}`
}

/** Whether the answer came from the gateway's cache, and so cost nothing. */
export const isFromGatewayCache = (headers: Headers): boolean => headers.get('cf-aig-cache-status') === 'HIT'

const splitSecret = (secret: string): { token: string | null; secret: string } => {
  const [, token, rest] = /^cf-aig=([^;\s]+);(.*)$/s.exec(secret) ?? []
  return token === undefined ? { token: null, secret } : { token, secret: rest ?? '' }
}

/** An error of the gateway's own, in front of every provider; null where the provider answered. */
const gatewayFault = (answer: Answered, nowMs: number): Failed | null => {
  if (isSuccess(answer.status)) return null
  const code = cloudflareCode(parseJson(answer.body))
  if (code === null) return null
  const waitMs = openAiWaitMs(answer.status, answer.headers, nowMs)
  const found = cloudflareFault('The provider', code, waitMs === null ? {} : { retryAfterMs: waitMs }, nowMs)
  return found && withId(found, answer)
}
