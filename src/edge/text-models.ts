import * as v from 'valibot'
import { fault } from '../contract/fault.ts'
import type { ChatCard, EmbedCard, TextProvider } from '../providers/dialect.ts'
import { findModel } from '../providers/registry.ts'
import { findChatModel, findEmbedModel, TEXT_PROVIDERS } from '../providers/text-registry.ts'
import { callerOf } from './auth.ts'
import { type Context, instanceOf, Refused, type Route } from './context.ts'
import { json, unwrap } from './respond.ts'

/** Models of text among `GET models`. Those of servers of one's own are listed nowhere, but may be asked after by name. */

/** OpenAI's lists say when a model was made; nobody tells it of all. */
export const NO_DATE = 0

export const textModels = () =>
  TEXT_PROVIDERS.flatMap((provider) => [
    ...(provider.chat ? provider.chatModels.map((card) => chatModel(provider, card)) : []),
    ...(provider.embed ? provider.embedModels.map((card) => embedModel(provider, card)) : []),
  ])

const modelOf = ({ id }: TextProvider, type: string, card: ChatCard | EmbedCard) => ({
  id: `${id}/${card.model}`,
  object: 'model' as const,
  created: NO_DATE,
  owned_by: id,
  types: [type],
  quality_rank: card.qualityRank,
  typical_ms: card.typicalMs,
  /** Text is priced by the token: a call has no price of its own. */
  price_usd: null,
  context_tokens: card.contextTokens,
})

const chatModel = (provider: TextProvider, card: ChatCard) => ({
  ...modelOf(provider, 'text.generate@1', card),
  max_output_tokens: card.maxOutputTokens,
  takes: {
    images: card.images,
    tools: card.tools,
    json_schema: card.jsonSchema,
    reasoning: card.reasoning,
    sampling: card.sampling,
  },
})

const embedModel = (provider: TextProvider, card: EmbedCard) => ({
  ...modelOf(provider, 'text.embed@1', card),
  dimensions: card.dimensions,
})

/** One of text; images have their own entry in the list. */
const read = async (context: Context): Promise<Response> => {
  unwrap(await instanceOf(context).describe(await callerOf(context)))
  const name = decoded(context.params['model'] ?? '')
  const chat = findChatModel(name)
  if (chat && (isListed(chat) || !findEmbedModel(name))) return json(chatModel(chat.provider, chat.card))
  const embed = findEmbedModel(name)
  if (embed && isListed(embed)) return json(embedModel(embed.provider, embed.card))
  // Of a server of one's own nobody knows what a model is for.
  if (chat) return json(chatModel(chat.provider, chat.card))
  const image = findModel(name)
  if (!image) throw new Refused(fault('not_found', 'There is no such model here.', { param: 'model' }))
  const { provider, card } = image
  return json({
    id: name,
    object: 'model',
    created: NO_DATE,
    owned_by: provider.id,
    types: card.types,
    quality_rank: card.qualityRank,
    typical_ms: card.typicalMs,
  })
}

const isListed = ({ provider, card }: { provider: TextProvider; card: ChatCard | EmbedCard }): boolean =>
  provider.chatModels.some((known) => known === card) || provider.embedModels.some((known) => known === card)

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}

export const textModelRoutes: Route[] = [
  {
    method: 'GET',
    path: '/v1/instances/:instance/models/:model+',
    summary: 'One model, by its name',
    access: 'key',
    answers: {
      200: v.looseObject({
        id: v.string(),
        object: v.literal('model'),
        created: v.number(),
        owned_by: v.string(),
        types: v.array(v.string()),
      }),
    },
    handle: read,
  },
]
