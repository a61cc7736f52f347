import { outputLimitOf } from '../contract/chat.ts'
import { inputsOf } from '../contract/embedding.ts'
import { type Answered, isSuccess, parseExact, parseJson } from './answers.ts'
import type { ChatCall, ChatDialect, ChatPiece, EmbedDialect, SseEvent, StreamDecoder, StreamEnd } from './dialect.ts'
import { openAiUsage, recordOf } from './openai-usage.ts'

/**
 * Workers AI in the words of its binding, which are those of `POST /ai/run/{model}`
 * (https://developers.cloudflare.com/workers-ai/models/): a model's own input, and an answer of its own form or, of newer
 * models, of OpenAI's. Whatever came is told in the form that REST has, and read by the dialect that reads REST.
 */

export const nativeChat = (dialect: ChatDialect): ChatDialect => ({
  ...dialect,
  encode: (call) => {
    const encoded = dialect.encode(call)
    return { ...encoded, body: nativeInput(call.card.model, encoded.body) }
  },
  decode: (call, answer) =>
    dialect.decode(call, isSuccess(answer.status) ? asCompletion(call, answer) : asError(answer)),
  openStream: (call) => new NativeStream(dialect.openStream(call), call),
})

export const nativeEmbed = (dialect: EmbedDialect): EmbedDialect => ({
  ...dialect,
  encode: (call) => ({ ...dialect.encode(call), body: { text: inputsOf(call.input.input) } }),
  decode: (call, answer) => dialect.decode(call, isSuccess(answer.status) ? answer : asError(answer)),
})

type Fields = Record<string, unknown>

/** Of the models listed, those with an input of their own, by the types of @cloudflare/workers-types 5.20261117. */
const OWN_INPUT = /^@cf\/(?:meta|qwen)\//

const nativeInput = (model: string, { model: _, ...body }: Fields): Fields => {
  const messages: unknown = body['messages']
  const format = recordOf(body['response_format'])
  const schema = OWN_INPUT.test(model) ? recordOf(format?.['json_schema'])?.['schema'] : undefined
  return {
    ...body,
    // The binding refuses a message without content, such as one that only calls tools.
    ...(Array.isArray(messages)
      ? { messages: messages.map((message) => ({ ...message, content: message.content ?? '' })) }
      : {}),
    ...(schema === undefined ? {} : { response_format: { ...format, json_schema: schema } }),
  }
}

/** `internalCode` is the number; the rest may repeat the input. */
const asError = (answer: Answered): Answered => {
  const code = recordOf(parseJson(answer.body))?.['internalCode']
  return typeof code === 'number' ? { ...answer, body: JSON.stringify(envelopeOf(code)) } : answer
}

const envelopeOf = (code: number) => ({ success: false, errors: [{ code, message: '' }] })

const asCompletion = (call: ChatCall, answer: Answered): Answered => {
  const body = answer.cut ? null : recordOf(parseExact(answer.body))
  if (!body || body['choices'] !== undefined || !isNative(body)) return answer
  const calls = callsOf(body['tool_calls'])
  const message = {
    role: 'assistant',
    content: textOf(body['response']),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  }
  const finish = body['finish_reason'] ?? (calls.length === 0 && isAtLimit(call, body['usage']) ? 'length' : null)
  const choices = [{ index: 0, message, finish_reason: finish }]
  return { ...answer, body: JSON.stringify({ choices, usage: body['usage'] }) }
}

const isNative = (body: Fields): boolean => body['response'] !== undefined || Array.isArray(body['tool_calls'])

/** A model of its own form does not say that it was cut: it has then as many tokens as it may. */
const isAtLimit = ({ input }: ChatCall, usage: unknown): boolean => {
  const limit = outputLimitOf(input)
  return limit !== null && (openAiUsage(usage)?.outputTokens ?? 0) >= limit
}

/** JSON that was asked for by a schema comes parsed, and a number as one; so do arguments. Every digit is kept. */
const textOf = (value: unknown): string | null =>
  value === null || value === undefined || typeof value === 'string' ? (value ?? null) : JSON.stringify(value)

/** Flat, `{ name, arguments }`, or as OpenAI has them; the last of a stream may be empty. What has no index or id gets them later. */
const callsOf = (value: unknown): Fields[] =>
  (Array.isArray(value) ? value : []).flatMap((item) => {
    const call = recordOf(item) ?? {}
    const called = recordOf(call['function']) ?? call
    const { name, arguments: args } = called
    const { id, index } = call
    if (!id && !name && !args) return []
    return [
      {
        ...(typeof index === 'number' ? { index } : {}),
        ...(id ? { id, type: 'function' } : {}),
        function: { ...(name ? { name } : {}), arguments: textOf(args) ?? '' },
      },
    ]
  })

/** Events of a model's own form as chunks; those that are chunks already go through untouched. */
class NativeStream implements StreamDecoder {
  readonly #inner: StreamDecoder
  readonly #call: ChatCall
  #begun = false
  #calls = false
  #isCut = false
  #hasEnded = false

  constructor(inner: StreamDecoder, call: ChatCall) {
    this.#inner = inner
    this.#call = call
  }

  get ended(): boolean {
    return this.#inner.ended
  }

  push(event: SseEvent): ChatPiece[] {
    const reason = this.#calls ? 'tool_calls' : this.#isCut && !this.#hasEnded ? 'length' : null
    if (event.data.startsWith('[DONE]') && reason !== null)
      return [...this.#inner.push(this.#chunk({}, reason)), ...this.#inner.push(event)]
    // A quote inside of a JSON text is escaped, so this is a field.
    const own = event.data.includes('"choices"') ? null : recordOf(parseExact(event.data))
    const code = own?.['internalCode']
    if (typeof code === 'number') return this.#inner.push({ data: JSON.stringify(envelopeOf(code)) })
    if (!own || !(isNative(own) || own['usage'])) return this.#inner.push(event)
    return this.#inner.push(this.#translated(own))
  }

  finish(): StreamEnd {
    return this.#inner.finish()
  }

  #translated(own: Fields): SseEvent {
    const text = textOf(own['response'])
    const calls = callsOf(own['tool_calls'])
    this.#calls ||= calls.length > 0
    this.#isCut ||= isAtLimit(this.#call, own['usage'])
    const delta = { ...(text ? { content: text } : {}), ...(calls.length > 0 ? { tool_calls: calls } : {}) }
    return this.#chunk(delta, own['finish_reason'] ?? null, own['usage'])
  }

  #chunk(delta: Fields, finish: unknown, usage?: unknown): SseEvent {
    const says = Object.keys(delta).length > 0 || finish !== null
    const role = this.#begun || !says ? {} : { role: 'assistant' }
    this.#begun ||= says
    if (finish !== null) {
      this.#calls = false
      this.#hasEnded = true
    }
    const chunk = {
      id: this.#call.id,
      object: 'chat.completion.chunk',
      created: Math.floor(this.#call.nowMs / 1000),
      model: this.#call.card.model,
      choices: says ? [{ index: 0, delta: { ...role, ...delta }, finish_reason: finish }] : [],
      ...(usage ? { usage } : {}),
    }
    return { data: JSON.stringify(chunk) }
  }
}
