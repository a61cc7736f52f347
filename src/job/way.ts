import type { Route } from '../contract/route.ts'
import { faultOf } from '../providers/answers.ts'
import { type AiBinding, sendByBinding } from '../providers/binding-call.ts'
import { isFromGatewayCache, type Passage, splitSecret, viaGateway } from '../providers/cloudflare-gateway.ts'
import type { ChatDialect, EmbedDialect, Encoded } from '../providers/dialect.ts'
import { type LineOptions, type LineResult, sendOnLine } from '../providers/line-http.ts'
import type { Failed } from '../providers/provider.ts'
import { nativeChat, nativeEmbed } from '../providers/workers-ai-native.ts'

/** How a call of text gets to its provider: what is spoken on the way, and over what. */
export type Way = {
  /** The provider's own; empty where it needs none. */
  secret: string
  chat(dialect: ChatDialect): ChatDialect
  embed(dialect: EmbedDialect): EmbedDialect
  send(encoded: Encoded, options: LineOptions): Promise<LineResult>
  /** Whether an answer came from a cache on the way, and so cost nothing and tells nothing of limits. */
  isCached(headers: Headers): boolean
}

type Travel = {
  route?: Route | undefined
  provider: string
  model: string
  /** As it was sealed. */
  secret: string
  ai?: AiBinding | undefined
}

export const wayOf = ({ route, provider, model, secret: sealed, ai }: Travel): Way | Failed => {
  const { token, secret } = splitSecret(sealed)
  switch (route?.type) {
    case undefined:
      return { ...STRAIGHT, secret }
    case 'ai_gateway':
      return byGateway({ provider, token, cache: route?.cache ?? false }, secret)
    case 'binding':
      return ai ? byBinding(ai, model) : faultOf('no_provider', 'This deployment has no binding of Workers AI.')
    default:
      return faultOf('no_provider', 'This version knows no such route.')
  }
}

const byGateway = (passage: Passage, secret: string): Way => ({
  ...STRAIGHT,
  secret,
  chat: (dialect) => viaGateway(dialect, passage),
  embed: (dialect) => viaGateway(dialect, passage),
  isCached: isFromGatewayCache,
})

const byBinding = (ai: AiBinding, model: string): Way => ({
  ...STRAIGHT,
  secret: '',
  chat: nativeChat,
  embed: nativeEmbed,
  send: ({ body }, options) => sendByBinding(ai, { model, inputs: body }, options),
})

const STRAIGHT: Omit<Way, 'secret'> = {
  chat: (dialect) => dialect,
  embed: (dialect) => dialect,
  send: ({ url, headers, body }, options) => sendOnLine({ url, headers, json: body }, options),
  isCached: () => false,
}
