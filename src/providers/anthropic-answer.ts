import type { CompletionMessage, FinishReason } from '../contract/completion.ts'
import { type Answered, faultOf, isSuccess, parseExact } from './answers.ts'
import { eventFault, problemOf, requestId, statusFault } from './anthropic-faults.ts'
import { type Kept, keptContent } from './anthropic-thinking.ts'
import { jsonToolOf } from './anthropic-tools.ts'
import { anthropicUsage, tierOf } from './anthropic-usage.ts'
import { cloudflareCode } from './cloudflare-faults.ts'
import type { ChatCall, ChatCompleted } from './dialect.ts'
import { idIn } from './openai-answer.ts'
import type { FaultContext } from './openai-faults.ts'
import { recordOf } from './openai-usage.ts'
import { privateTextsOf } from './private-texts.ts'
import type { Failed } from './provider.ts'

/** A whole answer of Anthropic's: a message of blocks. */

export const NAME = 'Anthropic'

export const decodeChat = (call: ChatCall, answer: Answered): ChatCompleted | Failed => {
  const context = faultContext(call)
  if (!isSuccess(answer.status)) return statusFault(answer, context)
  const more = requestId(answer)
  if (answer.cut) return faultOf('outcome_unknown', `${NAME} took the request, but its answer was lost.`, more)
  const body = recordOf(parseExact(answer.body))
  if (!body) return faultOf('provider_protocol_error', `${NAME} gave an answer that is not JSON.`, more)
  if (problemOf(body) || cloudflareCode(body) !== null) return eventFault(body, context, more)
  const { content } = body
  if (body['type'] !== 'message' || !Array.isArray(content))
    return faultOf('provider_protocol_error', `${NAME} gave an answer that cannot be read.`, more)
  const tier = tierOf(body['usage'])
  const jsonTool = jsonToolOf(call.input)
  const message = messageOf(call, content, jsonTool)
  const refused = refusalIn(body)
  const ends = finishOf(body['stop_reason'], jsonTool !== null && !message.tool_calls)
  return {
    kind: 'completed',
    completion: {
      id: idIn(body['id']) ?? call.id,
      object: 'chat.completion',
      created: Math.floor(call.nowMs / 1000),
      model: textIn(body['model']) ?? call.card.model,
      choices: [
        {
          index: 0,
          message: refused === null ? message : { ...message, refusal: refused },
          logprobs: null,
          finish_reason: ends ?? (message.tool_calls ? 'tool_calls' : 'stop'),
        },
      ],
      ...(tier === null ? {} : { service_tier: tier }),
    },
    usage: anthropicUsage(body['usage']),
    serviceTier: tier,
    providerRequestId: more.providerRequestId ?? idIn(body['id']),
  }
}

export const faultContext = ({ input, secret, nowMs }: ChatCall): FaultContext => ({
  name: NAME,
  nowMs,
  privateTexts: privateTextsOf(input, secret),
})

export const textIn = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null)

const FINISH = new Map<string, FinishReason>(
  Object.entries({
    end_turn: 'stop',
    stop_sequence: 'stop',
    max_tokens: 'length',
    model_context_window_exceeded: 'length',
    // A long turn that the provider broke off to be taken up again: what there is of it is not all.
    pause_turn: 'length',
    tool_use: 'tool_calls',
    refusal: 'content_filter',
  }),
)

/** Any word that is not known ends an answer that is whole; null says that it goes on. */
export const finishOf = (value: unknown, isJson: boolean): FinishReason | null => {
  if (typeof value !== 'string' || value === '') return null
  const finish = FINISH.get(value) ?? 'stop'
  return finish === 'tool_calls' && isJson ? 'stop' : finish
}

/** Why the model declined, where it says so. */
export const refusalIn = (told: Record<string, unknown>): string | null =>
  told['stop_reason'] === 'refusal' ? textIn(recordOf(told['stop_details'])?.['explanation']) : null

/** Where the answer is the arguments of a tool, what was said beside it, or answered a second time, is no JSON and left out. */
const messageOf = (call: ChatCall, content: readonly unknown[], jsonTool: string | null): CompletionMessage => {
  let text: string | null = null
  let thoughts = ''
  const calls: NonNullable<CompletionMessage['tool_calls']> = []
  const kept: Kept[] = []
  for (const value of content) {
    const block = recordOf(value) ?? {}
    if (block['type'] === 'text' && typeof block['text'] === 'string') {
      kept.push({ type: 'text', characters: block['text'].length })
      if (jsonTool === null) text = (text ?? '') + block['text']
    } else if (block['type'] === 'tool_use') {
      const args = JSON.stringify(block['input'] ?? {})
      kept.push({ type: 'tool_use' })
      if (jsonTool !== null && block['name'] === jsonTool) text ??= args
      else calls.push(toolCallOf(block, args, calls.length))
    } else if (block['type'] === 'thinking' && typeof block['thinking'] === 'string') {
      thoughts += block['thinking']
      kept.push({ type: 'thinking', thinking: block['thinking'], signature: textIn(block['signature']) ?? '' })
    } else if (block['type'] === 'redacted_thinking' && typeof block['data'] === 'string')
      kept.push({ type: 'redacted_thinking', data: block['data'] })
  }
  const extra = jsonTool === null ? keptContent(call.card, kept) : undefined
  return {
    role: 'assistant',
    content: text,
    refusal: null,
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
    ...(thoughts === '' ? {} : { reasoning_content: thoughts }),
    ...(extra ? { extra_content: extra } : {}),
  }
}

const toolCallOf = (block: Record<string, unknown>, args: string, at: number) => ({
  id: textIn(block['id']) ?? `call_${at}`,
  type: 'function' as const,
  function: { name: textIn(block['name']) ?? '', arguments: args },
})
