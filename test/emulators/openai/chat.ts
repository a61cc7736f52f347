import { type Accepted, accept } from './intake.ts'
import { problem, turnAway } from './problems.ts'
import { book, type ChatBody, lastTextOf, promptOf, promptTokensOf, type Reply, replyTo, usageOf } from './reply.ts'
import type { Exchange, State } from './state.ts'
import { streamChat } from './stream.ts'
import { endAnswer } from './wire.ts'

/** `POST /chat/completions`. */
export async function chat(state: State, exchange: Exchange, body: ChatBody): Promise<void> {
  const { server } = state.settings
  const unsupported = server === 'openai' ? unsupportedOf(body) : null
  if (unsupported) return turnAway(state, exchange, unsupported)
  const accepted = await accept(state, exchange, {
    kind: 'chat',
    model: body.model,
    stream: body.stream === true,
    text: lastTextOf(body),
    tokens: promptTokensOf(body, promptOf(body)) + (body.max_completion_tokens ?? body.max_tokens ?? 16),
  })
  if (!accepted) return
  const reply = replyTo(body, accepted.directives, promptOf(body), state.settings)
  if (body.stream) return streamChat(state, exchange, body, accepted, reply)
  book(accepted.record, reply, reply.completionTokens)
  accepted.record.usageTold = !accepted.directives.has('no_usage')
  await endAnswer(state, exchange, accepted, JSON.stringify(completionOf(state, body, accepted, reply)))
}

/** What the provider's newer models refuse, in its words. */
function unsupportedOf(body: ChatBody) {
  const reasons = /^(gpt-[56]|o\d)/.test(body.model) && body.reasoning_effort !== 'none'
  const refuse = (param: string, hint: string) =>
    problem(
      400,
      'unsupported_parameter',
      `Unsupported parameter: '${param}' is not supported with this model.${hint}`,
      param,
    )
  if (/^(gpt-[56]|o\d)/.test(body.model) && body.max_tokens)
    return refuse('max_tokens', " Use 'max_completion_tokens' instead.")
  if (reasons && body.logprobs) return refuse('logprobs', '')
  for (const param of ['temperature', 'top_p'] as const) {
    const value = body[param]
    if (reasons && value !== undefined && value !== null && value !== 1)
      return problem(400, 'unsupported_value', `Unsupported value: '${param}' does not support this value.`, param)
  }
  if (body.tool_choice !== undefined && !body.tools)
    return problem(400, null, "'tool_choice' is only allowed when 'tools' are specified.", 'tool_choice')
  // https://github.com/BerriAI/litellm/issues/5803 has the answer as it came.
  if (body.stream_options && !body.stream) {
    const message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
    return problem(400, null, message, 'stream_options')
  }
  return null
}

function completionOf(state: State, body: ChatBody, { id, createdAt, directives }: Accepted, reply: Reply): unknown {
  const { server } = state.settings
  const text = reply.pieces.join('')
  const choice = (index: number) => ({
    index,
    message: {
      role: 'assistant',
      content: reply.calls.length > 0 || reply.refusal ? null : text,
      refusal: reply.refusal ? text : null,
      ...(reply.calls.length > 0 ? { tool_calls: reply.calls.map(callOf) } : {}),
      ...(server === 'vllm' && reply.reasoning > 0 ? { reasoning_content: 'Let me think.' } : {}),
      ...(server === 'openai' ? { annotations: [] } : {}),
    },
    logprobs: body.logprobs ? { content: reply.pieces.map(logprobOf), refusal: null } : null,
    finish_reason: reply.finish,
    ...(server === 'vllm' ? { stop_reason: null } : {}),
  })
  return {
    // Workers AI has left it out.
    ...(server === 'workers-ai' ? {} : { id }),
    object: 'chat.completion',
    created: createdAt,
    model: body.model,
    choices: Array.from({ length: body.n ?? 1 }, (_, index) => choice(index)),
    ...(directives.has('no_usage') ? {} : { usage: usageOf(reply) }),
    ...(server === 'openai' ? { service_tier: tierOf(body), system_fingerprint: 'fp_emulated' } : {}),
    ...(server === 'llama.cpp' ? { timings: { prompt_ms: 1, predicted_ms: 1 } } : {}),
  }
}

export const tierOf = (body: ChatBody): string =>
  body.service_tier === undefined || body.service_tier === null || body.service_tier === 'auto'
    ? 'default'
    : body.service_tier

export const callOf = ({ id, name, args }: Reply['calls'][number]) => ({
  id,
  type: 'function',
  function: { name, arguments: args },
})

export const logprobOf = (token: string) => ({
  token,
  logprob: -0.25,
  bytes: [...Buffer.from(token)],
  top_logprobs: [],
})
