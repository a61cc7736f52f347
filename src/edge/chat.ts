import type { ChatInput, ChatRequest } from '../contract/chat.ts'
import { microsToUsd } from '../contract/fields.ts'
import { completionUsage, type Usage, usageOf } from '../contract/usage.ts'
import { generatedText } from '../core/chunks.ts'
import { promptTokensOf } from '../core/expected.ts'
import { tokensOf } from '../core/tokens.ts'
import { type CallTools, runChat } from '../job/text-call.ts'
import { planChat } from './candidates.ts'
import { costHeader, endingOf, type LineCall } from './line-call.ts'
import { json } from './respond.ts'

/** `POST {base}/chat/completions` without a stream. */
export const answerChat = async (
  request: ChatRequest,
  line: LineCall,
  tools: CallTools,
  id: string,
): Promise<Response> => {
  const input = inputOf(request)
  let opening = await line.open(planChat(request, input))
  for (;;) {
    const ended = await runChat(opening, input, { id }, tools)
    const { outcome, providerMs, rate, cached, dropped } = ended
    if (outcome.kind === 'fault') {
      opening = await line.again(endingOf({ ...ended, outcome }))
      continue
    }
    const { completion, serviceTier, providerRequestId } = outcome
    const usage = outcome.usage ?? estimatedUsage(input, generatedText(completion))
    const micros = line.cost(usage, { cached, serviceTier })
    const response = json({ ...completion, usage: usageBody(usage, micros) }, 200, {
      ...line.headers(providerMs, dropped),
      ...costHeader(micros),
    })
    line.settle({ fault: null, usage, delivered: true, cached, serviceTier, providerRequestId, providerMs, rate })
    return response
  }
}

/** What the model is asked: the request without what it says to Switchyard. */
export const inputOf = (request: ChatRequest): ChatInput => {
  const {
    model: _model,
    models: _models,
    prefer: _prefer,
    fallback: _fallback,
    project: _project,
    max_cost_usd: _maxCost,
    deadline_s: _deadline,
    metadata: _metadata,
    stream: _stream,
    stream_options: _options,
    ...input
  } = request
  return input
}

/** Counted by ourselves, where the provider gives nothing; the prompt is as it told it, where it did. */
export const estimatedUsage = (input: ChatInput, text: string, prompt: Usage | null = null): Usage => ({
  ...(prompt ?? usageOf({ inputTokens: promptTokensOf(input) })),
  outputTokens: tokensOf(text),
  estimated: true,
})

/** `usage` as a client gets it, with what it cost. */
export const usageBody = (usage: Usage, micros: number | null) => ({
  ...completionUsage(usage),
  cost_usd: micros === null ? null : microsToUsd(micros),
})
