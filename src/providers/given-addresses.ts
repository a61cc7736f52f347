import type { ChatMessage } from '../contract/chat-message.ts'
import type { Json } from '../contract/fields.ts'
import { refusesFetching } from './address.ts'
import type { Refusal } from './dialect.ts'

/** Addresses in a request that its provider fetches. A provider that runs in our own network would fetch inside of it. */

/** What a request of any kind may hold that leads to an address. */
export type Giving = {
  messages?: readonly ChatMessage[] | undefined
  provider_options?: Readonly<Record<string, Json>> | undefined
}

/** The first address that no provider is sent to, whichever it is for. Pictures that come along as data are none. */
export const refusesGiven = (
  { messages, provider_options: options }: Giving,
  allowPrivate: boolean,
): Refusal | null => {
  for (const [at, { role, content }] of (messages ?? []).entries()) {
    if (role !== 'user' || typeof content === 'string') continue
    for (const [place, part] of content.entries()) {
      if (part.type !== 'image_url' || part.image_url.url.startsWith('data:')) continue
      const reason = refusesFetching(part.image_url.url, allowPrivate)
      if (reason !== null) return refusal(`messages.${at}.content.${place}.image_url.url`, reason)
    }
  }
  return options === undefined ? null : refusesWithin(options, 'provider_options', allowPrivate)
}

/** A provider's own fields are known to that provider alone: whatever looks like an address is taken for one. */
const refusesWithin = (value: Json, path: string, allowPrivate: boolean): Refusal | null => {
  if (typeof value === 'string') {
    const reason = LOOKS_LIKE_ADDRESS.test(value) ? refusesFetching(value, allowPrivate) : null
    return reason === null ? null : refusal(path, reason)
  }
  if (typeof value !== 'object' || value === null) return null
  for (const [key, inner] of Object.entries(value)) {
    const refused = refusesWithin(inner, `${path}.${key}`, allowPrivate)
    if (refused) return refused
  }
  return null
}

const LOOKS_LIKE_ADDRESS = /^\s*https?:/i

const refusal = (path: string, reason: string): Refusal => {
  // Keys are the client's own text.
  const param = path.replace(/[^\x20-\x7e]/g, '?').slice(0, 200)
  return { param, message: `The address at ${param} is refused: it ${reason}.` }
}
