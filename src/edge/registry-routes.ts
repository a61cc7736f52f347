import { toJsonSchema } from '@valibot/to-json-schema'
import * as v from 'valibot'
import { ChatInput } from '../contract/chat.ts'
import { EmbedInput } from '../contract/embedding.ts'
import { microsToUsd } from '../contract/fields.ts'
import { ImageInput, ImageOutput } from '../contract/image.ts'
import { NODE_TYPES, type NodeType } from '../contract/job.ts'
import { PriceView } from '../contract/price.ts'
import { fromWire } from '../contract/rpc.ts'
import { ChatOutput, EmbedOutput } from '../contract/text-output.ts'
import { PROVIDERS } from '../providers/registry.ts'
import { callerOf } from './auth.ts'
import { type Context, instanceOf, type Route } from './context.ts'
import { json, unwrap } from './respond.ts'
import { NO_DATE, textModels } from './text-models.ts'

/** What this deployment can do, to anyone with a right in the instance. */
const authorized = async (context: Context): Promise<void> => {
  unwrap(await instanceOf(context).describe(await callerOf(context)))
}

const NODES: Record<NodeType, { input: v.GenericSchema; output: v.GenericSchema }> = {
  'image.generate@1': { input: ImageInput, output: ImageOutput },
  'text.generate@1': { input: ChatInput, output: ChatOutput },
  'text.embed@1': { input: EmbedInput, output: EmbedOutput },
}

const nodeTypes = async (context: Context): Promise<Response> => {
  await authorized(context)
  const schema = (of: v.GenericSchema) => toJsonSchema(of, { errorMode: 'ignore', typeMode: 'input' })
  const data = NODE_TYPES.map((type) => ({
    id: type,
    object: 'node_type',
    input: schema(NODES[type].input),
    output: schema(NODES[type].output),
  }))
  return json({ data })
}

const models = async (context: Context): Promise<Response> => {
  const prices = fromWire(unwrap(await instanceOf(context).modelPrices(await callerOf(context))))
  const data = PROVIDERS.flatMap((provider) =>
    provider.models.map((card) => {
      const id = `${provider.id}/${card.model}`
      const { price = null, micros = null } = prices.find(({ model }) => model === id) ?? {}
      return {
        id,
        object: 'model',
        created: NO_DATE,
        owned_by: provider.id,
        types: card.types,
        quality_rank: card.qualityRank,
        typical_ms: card.typicalMs,
        /** Of one job with defaults; null where none is known that may be billed. */
        price_usd: micros === null ? null : microsToUsd(micros),
        price,
      }
    }),
  )
  const priced = new Map(prices.map(({ model, price }) => [model, price]))
  const texts = textModels().map((model) => ({ ...model, price: priced.get(model.id) ?? null }))
  return json({ object: 'list', data: [...data, ...texts] })
}

const listOf = (entries: v.ObjectEntries) => v.object({ data: v.array(v.object(entries)) })
const base = '/v1/instances/:instance'

export const registryRoutes: Route[] = [
  {
    method: 'GET',
    path: `${base}/node-types`,
    summary: 'What jobs can do, with the schemas of input and output',
    access: 'key',
    answers: { 200: listOf({ id: v.string(), object: v.string(), input: v.any(), output: v.any() }) },
    handle: nodeTypes,
  },
  {
    method: 'GET',
    path: `${base}/models`,
    summary: 'Models that jobs may name',
    access: 'key',
    answers: {
      200: listOf({
        id: v.string(),
        object: v.literal('model'),
        created: v.number(),
        owned_by: v.string(),
        types: v.array(v.string()),
        quality_rank: v.number(),
        typical_ms: v.number(),
        price_usd: v.nullable(v.number()),
        price: v.nullable(PriceView),
      }),
    },
    handle: models,
  },
]
