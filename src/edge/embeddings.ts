import type { EmbeddingList, EmbedInput, EmbedRequest } from '../contract/embedding.ts'
import { microsToUsd } from '../contract/fields.ts'
import { usageOf } from '../contract/usage.ts'
import { expectedOfEmbed } from '../core/expected.ts'
import { type CallTools, runEmbed } from '../job/text-call.ts'
import { toBase64 } from '../providers/openai-embeddings.ts'
import { planEmbed } from './candidates.ts'
import { embeddingListBody } from './embedding-list.ts'
import { costHeader, endingOf, type LineCall } from './line-call.ts'
import { jsonBody } from './respond.ts'

/** `POST {base}/embeddings`. */
export const answerEmbeddings = async (request: EmbedRequest, line: LineCall, tools: CallTools): Promise<Response> => {
  const { input: texts, dimensions, user, provider_options } = request
  const input: EmbedInput = {
    input: texts,
    ...(dimensions === undefined ? {} : { dimensions }),
    ...(user === undefined ? {} : { user }),
    ...(provider_options === undefined ? {} : { provider_options }),
  }
  let opening = await line.open(planEmbed(request, input))
  for (;;) {
    const ended = await runEmbed(opening, input, tools)
    const { outcome, providerMs, rate, cached, dropped } = ended
    if (outcome.kind === 'fault') {
      opening = await line.again(endingOf({ ...ended, outcome }))
      continue
    }
    const { vectors, model, providerRequestId } = outcome
    const usage = outcome.usage ?? usageOf({ inputTokens: expectedOfEmbed(input).inputTokens, estimated: true })
    const micros = line.cost(usage, { cached, serviceTier: null })
    const write = request.encoding_format === 'base64' ? toBase64 : (vector: Float32Array) => Array.from(vector)
    const list: Omit<EmbeddingList, 'data'> = {
      object: 'list',
      model,
      usage: {
        prompt_tokens: usage.inputTokens,
        total_tokens: usage.inputTokens + usage.outputTokens,
        cost_usd: micros === null ? null : microsToUsd(micros),
        ...(usage.estimated ? { estimated: true } : {}),
      },
    }
    const response = jsonBody(embeddingListBody(list, vectors, write), 200, {
      ...line.headers(providerMs, dropped),
      ...costHeader(micros),
    })
    const about = { cached, serviceTier: null, providerRequestId, providerMs, rate }
    line.settle({ fault: null, usage, delivered: true, ...about })
    return response
  }
}
