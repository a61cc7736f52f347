import { vectorOf } from '../openai/embeddings.ts'
import { tokensOf } from '../openai/tokens.ts'
import { modelProblem, type Turn } from './body.ts'
import { accept } from './intake.ts'
import { type Problem, problem } from './problems.ts'
import type { Exchange, State } from './state.ts'
import { endAnswer } from './wire.ts'

export interface EmbedBody {
  model?: string
  content?: Turn
  outputDimensionality?: number
}

export interface BatchBody {
  requests?: EmbedBody[]
}

const own = 3_072

/** `embedContent` and `batchEmbedContents`: the same text gives the same vector. Only a whole one has a length of one. */
export async function embed(state: State, exchange: Exchange, body: EmbedBody | BatchBody): Promise<void> {
  const isBatch = exchange.method === 'batchEmbedContents'
  const asked = isBatch ? ((body as BatchBody).requests ?? []) : [body as EmbedBody]
  const texts = asked.map(({ content }) => (content?.parts ?? []).map(({ text }) => text ?? '').join(''))
  const tokens = texts.reduce((sum, text) => sum + tokensOf(text), 0)
  const accepted = await accept(state, exchange, {
    kind: 'embed',
    text: texts.join('\n'),
    tokens,
    wrong: modelProblem(exchange.model, exchange.apiVersion, exchange.method) ?? embedProblem(exchange, asked, isBatch),
  })
  if (!accepted) return
  accepted.record.tokens.prompt = tokens
  const tellsUsage = !accepted.directives.has('no_usage')
  accepted.record.usageTold = tellsUsage
  const vectors = texts.map((text, at) => ({ values: [...shortened(text, asked[at]?.outputDimensionality ?? own)] }))
  const usage = tellsUsage ? { usageMetadata: { promptTokenCount: tokens } } : {}
  await endAnswer(state, exchange, accepted, {
    ...(isBatch ? { embeddings: vectors } : { embedding: vectors[0] }),
    ...usage,
  })
}

/** The first numbers of the whole vector, as the provider cuts it. */
export const shortened = (text: string, length: number): Float32Array => vectorOf(text, own).subarray(0, length)

function embedProblem({ model }: Exchange, asked: EmbedBody[], isBatch: boolean): Problem | null {
  if (asked.length === 0) return problem(400, '* BatchEmbedContentsRequest.requests: requests is not specified\n')
  if (asked.length > 100)
    return problem(400, '* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch\n')
  if (isBatch && asked.some((item) => item.model !== `models/${model}`))
    return problem(400, '* BatchEmbedContentsRequest.requests: the model of each request must match the batch’s\n')
  if (asked.some(({ content }) => !content?.parts?.some(({ text }) => text)))
    return problem(400, '* EmbedContentRequest.content: contents is not specified\n')
  if (asked.some(({ outputDimensionality: length = own }) => length < 1 || length > own))
    return problem(400, `* EmbedContentRequest.output_dimensionality: must be between 1 and ${own}\n`)
  return null
}
