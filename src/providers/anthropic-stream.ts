import type { Delta, FinishReason } from '../contract/completion.ts'
import { faultOf } from './answers.ts'
import { faultContext, finishOf, NAME, refusalIn, textIn } from './anthropic-answer.ts'
import { eventFault, problemOf } from './anthropic-faults.ts'
import { type Kept, keptContent } from './anthropic-thinking.ts'
import { jsonToolOf } from './anthropic-tools.ts'
import { anthropicUsage, mergedUsage, tierOf } from './anthropic-usage.ts'
import { cloudflareCode } from './cloudflare-faults.ts'
import type { ChatCall, ChatPiece, SseEvent, StreamDecoder, StreamEnd } from './dialect.ts'
import { idIn } from './openai-answer.ts'
import { recordOf } from './openai-usage.ts'
import type { Failed } from './provider.ts'

/**
 * A stream of named events (https://platform.claude.com/docs/en/build-with-claude/streaming) to chunks. Events and blocks
 * of kinds that are not known are passed over, as the provider's versioning asks of its clients.
 */

const NOTHING: ChatPiece[] = []

export const openChatStream = (call: ChatCall): StreamDecoder => new Decoder(call)

/** A block that has begun. `call` is the turn of a tool among the calls; null where its arguments are the answer. */
type Open =
  | { kind: 'text'; kept: Kept & { type: 'text' } }
  | { kind: 'thinking'; kept: Kept & { type: 'thinking' } }
  | { kind: 'tool'; call: number | null; hasArguments: boolean }
  | { kind: 'other' }

class Decoder implements StreamDecoder {
  ended = false
  readonly #call: ChatCall
  readonly #jsonTool: string | null
  #fault: Failed | null = null
  #usage: Record<string, unknown> | null = null
  #isCounted = false
  #finish: FinishReason | null = null
  #id: string | null = null
  #model: string | null = null
  /** All of a chunk before its delta. */
  #head = ''
  readonly #open = new Map<unknown, Open>()
  readonly #kept: Kept[] = []
  #calls = 0
  /** The tool whose arguments are the answer was called. */
  #hasAnswer = false

  constructor(call: ChatCall) {
    this.#call = call
    this.#jsonTool = jsonToolOf(call.input)
  }

  push({ event, data }: SseEvent): ChatPiece[] {
    if (this.ended) return NOTHING
    let told: Record<string, unknown> | null
    try {
      told = recordOf(JSON.parse(data))
    } catch {
      told = null
    }
    if (!told) return this.#fail(this.#malformed())
    if (event === 'error' || told['type'] === 'error' || problemOf(told) || cloudflareCode(told) !== null)
      return this.#fail(eventFault(told, faultContext(this.#call)))
    const type = told['type']
    if (type === 'message_start') return this.#start(told)
    if (type === 'ping' || !KNOWN.has(type)) return NOTHING
    if (this.#head === '') return this.#fail(this.#malformed())
    switch (type) {
      case 'content_block_start':
        return this.#startBlock(told)
      case 'content_block_delta':
        return this.#continueBlock(told)
      case 'content_block_stop':
        return this.#stopBlock(told)
      case 'message_delta':
        return this.#finishMessage(told)
      default:
        return this.#stop()
    }
  }

  /** Before the last event the output is told as the one token that it begins with, which is no count of it. */
  finish(): StreamEnd {
    const told = anthropicUsage(this.#usage)
    const end = {
      usage: this.#isCounted ? told : null,
      promptUsage: this.#isCounted || !told ? null : { ...told, outputTokens: 0, reasoningTokens: 0 },
      finish: this.#finish,
      serviceTier: tierOf(this.#usage),
      id: this.#id,
      model: this.#model,
    }
    if (this.#fault) return { fault: this.#fault, ...end }
    return { fault: this.ended ? null : faultOf('outcome_unknown', `${NAME} broke off its answer.`), ...end }
  }

  #start(told: Record<string, unknown>): ChatPiece[] {
    const message = recordOf(told['message'])
    if (!message || this.#head !== '') return this.#fail(this.#malformed())
    this.#usage = mergedUsage(null, message['usage'])
    this.#id = idIn(message['id'])
    this.#model = textIn(message['model'])
    const tier = tierOf(this.#usage)
    const head = JSON.stringify({
      id: this.#id ?? this.#call.id,
      object: 'chat.completion.chunk',
      created: Math.floor(this.#call.nowMs / 1000),
      model: this.#model ?? this.#call.card.model,
      ...(tier === null ? {} : { service_tier: tier }),
    })
    this.#head = `${head.slice(0, -1)},"choices":[{"index":0,"delta":`
    return this.#piece({ role: 'assistant', content: '' }, '')
  }

  #startBlock(told: Record<string, unknown>): ChatPiece[] {
    const block = recordOf(told['content_block'])
    if (!block) return this.#fail(this.#malformed())
    switch (block['type']) {
      case 'text': {
        const kept = { type: 'text' as const, characters: 0 }
        this.#begin(told['index'], { kind: 'text', kept }, kept)
        return this.#say(kept, block['text'])
      }
      case 'thinking': {
        const kept = { type: 'thinking' as const, thinking: '', signature: textIn(block['signature']) ?? '' }
        this.#begin(told['index'], { kind: 'thinking', kept }, kept)
        return this.#think(kept, block['thinking'])
      }
      case 'redacted_thinking':
        this.#begin(told['index'], { kind: 'other' }, { type: 'redacted_thinking', data: textIn(block['data']) ?? '' })
        return NOTHING
      case 'tool_use':
        return this.#startCall(told['index'], block)
      default:
        this.#begin(told['index'], { kind: 'other' }, null)
        return NOTHING
    }
  }

  #begin(index: unknown, open: Open, kept: Kept | null): void {
    this.#open.set(index, open)
    if (kept) this.#kept.push(kept)
  }

  #startCall(index: unknown, block: Record<string, unknown>): ChatPiece[] {
    const name = textIn(block['name']) ?? ''
    const isAnswer = this.#jsonTool !== null && name === this.#jsonTool
    // Two answers behind each other are no JSON.
    if (isAnswer && this.#hasAnswer) {
      this.#begin(index, { kind: 'other' }, null)
      return NOTHING
    }
    this.#hasAnswer ||= isAnswer
    const call = isAnswer ? null : this.#calls
    this.#begin(index, { kind: 'tool', call, hasArguments: false }, { type: 'tool_use' })
    if (call === null) return NOTHING
    this.#calls += 1
    const id = textIn(block['id']) ?? `call_${call}`
    return this.#piece({ tool_calls: [{ index: call, id, type: 'function', function: { name, arguments: '' } }] }, name)
  }

  #continueBlock(told: Record<string, unknown>): ChatPiece[] {
    const delta = recordOf(told['delta'])
    const open = this.#open.get(told['index'])
    if (!delta || !open) return this.#fail(this.#malformed())
    if (open.kind === 'text' && delta['type'] === 'text_delta') return this.#say(open.kept, delta['text'])
    if (open.kind === 'tool' && delta['type'] === 'input_json_delta') {
      const json = textIn(delta['partial_json'])
      if (json === null) return NOTHING
      open.hasArguments = true
      return this.#argue(open.call, json)
    }
    if (open.kind !== 'thinking') return NOTHING
    if (delta['type'] === 'signature_delta') open.kept.signature += textIn(delta['signature']) ?? ''
    return delta['type'] === 'thinking_delta' ? this.#think(open.kept, delta['thinking']) : NOTHING
  }

  /** A call without arguments has an empty object of them, which the provider does not send. */
  #stopBlock(told: Record<string, unknown>): ChatPiece[] {
    const open = this.#open.get(told['index'])
    this.#open.delete(told['index'])
    return open?.kind === 'tool' && !open.hasArguments ? this.#argue(open.call, '{}') : NOTHING
  }

  /** What is said beside an answer that is the arguments of a tool is no JSON. */
  #say(kept: Kept & { type: 'text' }, value: unknown): ChatPiece[] {
    const text = textIn(value)
    if (text === null) return NOTHING
    kept.characters += text.length
    return this.#jsonTool === null ? this.#piece({ content: text }, text) : this.#piece({}, text)
  }

  #think(kept: Kept & { type: 'thinking' }, value: unknown): ChatPiece[] {
    const text = textIn(value)
    if (text === null) return NOTHING
    kept.thinking += text
    return this.#piece({ reasoning_content: text }, text)
  }

  #argue(call: number | null, json: string): ChatPiece[] {
    if (call === null) return this.#piece({ content: json }, json)
    return this.#piece({ tool_calls: [{ index: call, function: { arguments: json } }] }, json)
  }

  #finishMessage(told: Record<string, unknown>): ChatPiece[] {
    this.#usage = mergedUsage(this.#usage, told['usage'])
    this.#isCounted = anthropicUsage(told['usage']) !== null
    const delta = recordOf(told['delta']) ?? {}
    const finish = finishOf(delta['stop_reason'], this.#jsonTool !== null && this.#calls === 0)
    if (finish === null || this.#finish !== null) return NOTHING
    const refusal = refusalIn(delta)
    const extra = this.#jsonTool === null ? keptContent(this.#call.card, this.#kept) : undefined
    return this.#end(finish, {
      ...(refusal === null ? {} : { refusal }),
      ...(extra ? { extra_content: extra } : {}),
    })
  }

  /** A choice that has begun is told to be over, also where the provider forgets to say why. */
  #stop(): ChatPiece[] {
    const pieces = this.#finish === null ? this.#end(this.#calls > 0 ? 'tool_calls' : 'stop', {}) : NOTHING
    this.ended = true
    return pieces
  }

  #end(finish: FinishReason, delta: Delta): ChatPiece[] {
    this.#finish = finish
    return [{ json: `${this.#head}${JSON.stringify(delta)},"finish_reason":"${finish}"}]}`, text: '', finish }]
  }

  #piece(delta: Delta, text: string): ChatPiece[] {
    return [{ json: `${this.#head}${JSON.stringify(delta)},"finish_reason":null}]}`, text, finish: null }]
  }

  #fail(fault: Failed): ChatPiece[] {
    this.#fault = fault
    this.ended = true
    return NOTHING
  }

  #malformed(): Failed {
    return faultOf('provider_protocol_error', `${NAME} sent an event that cannot be read.`)
  }
}

const KNOWN = new Set<unknown>([
  'content_block_start',
  'content_block_delta',
  'content_block_stop',
  'message_delta',
  'message_stop',
])
