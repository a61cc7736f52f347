import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { refusingLists, strictObject } from './fields.ts'

/** How calls of a provider get there, where that is not straight by its base URL. */

/** Both are one part of a path. A gateway's id has at most 64 such characters, an account's has 32 of them. */
const PathPart = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1 to 64 letters, digits, "_" and "-", since it stands in an address'),
)

const isOrigin = (text: string): boolean => URL.canParse(text) && new URL(text).origin === text

/** Cloudflare AI Gateway (https://developers.cloudflare.com/ai-gateway/) between Switchyard and the provider. */
export const AiGatewayRoute = strictObject({
  type: v.literal('ai_gateway'),
  account: PathPart,
  gateway: PathPart,
  /** Whether chats and embeddings may be answered from the gateway's cache; pictures never are. False without it. */
  cache: v.optional(v.boolean('must be true or false')),
  /** Where the gateway itself is reached: Cloudflare's own origin without it. */
  origin: v.optional(
    v.pipe(
      v.string(),
      v.maxLength(LIMITS.urlFieldCharacters),
      v.check(isOrigin, 'must be scheme and host alone, such as https://gateway.example'),
    ),
  ),
})
export type AiGatewayRoute = v.InferOutput<typeof AiGatewayRoute>

/** Workers AI by the binding of this deployment: no address, no credential, and the account that Switchyard runs in pays. */
export const BindingRoute = strictObject({ type: v.literal('binding') })

export const Route = refusingLists(v.variant('type', [AiGatewayRoute, BindingRoute], 'must be ai_gateway or binding'))
export type Route = v.InferOutput<typeof Route>
