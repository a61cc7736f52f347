import { callsOf } from '../base/calls/directives.ts'
import { numberOf } from '../base/directives.ts'
import { conforming } from '../openai/schema-value.ts'
import { loremPieces, piecesOf, tokensOf } from '../openai/tokens.ts'
import { type Block, blocksIn, type MessageBody, promptOf } from './body.ts'
import type { Directives } from './directives.ts'
import type { CallRecord, Tokens } from './ledger.ts'
import { models } from './models.ts'
import { digestOf, joined, signatureOf } from './signature.ts'
import type { Version } from './spec.ts'
import type { AnthropicSettings } from './state.ts'

/** What the model says: decided before it is sent, so that a whole answer and a stream of it are the same. */

/** A block of the answer, and the pieces in which a stream gives it. */
export type ReplyBlock =
  | { type: 'text'; pieces: string[] }
  | { type: 'thinking'; pieces: string[]; signature: string }
  | { type: 'redacted_thinking'; data: string }
  | { type: 'tool_use'; id: string; name: string; input: unknown; pieces: string[] }

export interface Reply {
  blocks: ReplyBlock[]
  stopReason: string
  stopSequence: string | null
  refused: boolean
  tokens: Tokens
}

/** Tokens of an image of middling size. */
const imageTokens = 1_600

export const promptTokensOf = (body: MessageBody): number =>
  tokensOf(promptOf(body)) +
  4 * body.messages.length +
  imageTokens *
    body.messages.flatMap(({ content }) => blocksIn(content)).filter(({ type }) => type === 'image').length +
  (body.tools ? tokensOf(JSON.stringify(body.tools)) : 0)

export function replyTo(body: MessageBody, directives: Directives, settings: AnthropicSettings): Reply {
  const calls = callsFor(body, directives)
  const whole = calls.length > 0 && !directives.has('say') ? [] : piecesFor(body, directives, settings)
  const { pieces: said, stopSequence } = stopped(whole, body.stop_sequences ?? [])
  const thought = thinks(body) ? directives.get('think')?.[0] : undefined
  const thinking = numberOf(directives, 'reasoning', 0, thought === undefined ? 0 : tokensOf(thought))
  const room = Math.max(0, body.max_tokens - thinking)
  const pieces = said.slice(0, room)
  const blocks = blocksOf(body, directives, { thought, pieces, calls })
  const [told] = directives.get('finish') ?? []
  const cut = pieces.length < said.length
  const called = calls.length > 0 ? 'tool_use' : stopSequence === null ? 'end_turn' : 'stop_sequence'
  const refused = directives.has('refuse')
  const prompt = promptTokensOf(body)
  const cacheRead = Math.min(numberOf(directives, 'read', 0, 0), prompt)
  const cacheWrite1h = Math.min(numberOf(directives, 'written_1h', 0, 0), prompt - cacheRead)
  const cacheWrite5m = Math.min(numberOf(directives, 'written', 0, 0), prompt - cacheRead - cacheWrite1h)
  const callTokens = calls.reduce((sum, { name, args }) => sum + tokensOf(name + args), 0)
  return {
    blocks,
    stopReason: told ?? (refused ? 'refusal' : cut ? 'max_tokens' : called),
    stopSequence: cut ? null : stopSequence,
    refused,
    tokens: {
      input: prompt - cacheRead - cacheWrite1h - cacheWrite5m,
      cacheRead,
      cacheWrite5m,
      cacheWrite1h,
      // Even an empty answer has one.
      output: Math.max(1, pieces.length + callTokens + thinking),
      thinking,
    },
  }
}

const thinks = ({ model, thinking }: MessageBody): boolean => {
  const type = thinking?.type ?? (models[model]?.thinksByDefault ? 'adaptive' : 'disabled')
  return type === 'adaptive' || type === 'enabled'
}

interface Call {
  id: string
  name: string
  args: string
}

/** Thoughts before the text and, where it calls, between the calls: each in its place. */
function blocksOf(
  body: MessageBody,
  directives: Directives,
  { thought, pieces, calls }: { thought: string | undefined; pieces: string[]; calls: Call[] },
): ReplyBlock[] {
  const turns = joined(body.messages)
  const wire: Block[] = []
  const blocks: ReplyBlock[] = []
  const add = (block: ReplyBlock) => {
    blocks.push(block)
    wire.push(wireOf(block) as Block)
  }
  const think = (text: string) => {
    const display = body.thinking?.display ?? (models[body.model]?.samples ? 'summarized' : 'omitted')
    const [shown, hidden] = display === 'summarized' ? [text, ''] : ['', text]
    const signature = signatureOf(body.model, digestOf(body, turns, wire), shown, hidden)
    add({ type: 'thinking', pieces: piecesOf(shown), signature })
  }
  if (thought !== undefined) think(thought)
  if (directives.has('redacted') && thinks(body)) add({ type: 'redacted_thinking', data: 'c2VjcmV0' })
  if (pieces.length > 0) add({ type: 'text', pieces })
  for (const [at, { id, name, args }] of calls.entries()) {
    if (at > 0 && thought !== undefined) think(`${thought} ${at}`)
    add({ type: 'tool_use', id, name, input: JSON.parse(args), pieces: args === '{}' ? [] : piecesOf(args) })
  }
  return blocks
}

export const wireOf = (block: ReplyBlock): unknown => {
  switch (block.type) {
    case 'text':
      return { type: 'text', text: block.pieces.join(''), citations: null }
    case 'thinking':
      return { type: 'thinking', thinking: block.pieces.join(''), signature: block.signature }
    case 'tool_use':
      return { type: 'tool_use', id: block.id, name: block.name, input: block.input, caller: { type: 'direct' } }
    default:
      return block
  }
}

function piecesFor(body: MessageBody, directives: Directives, settings: AnthropicSettings): string[] {
  if (directives.has('refuse')) return piecesOf('I cannot')
  const say = directives.get('say')?.[0]
  if (say !== undefined) return piecesOf(say)
  const schema = body.output_config?.format?.schema
  if (schema) return piecesOf(JSON.stringify(conforming(schema)))
  const results = blocksIn(body.messages.at(-1)?.content).filter(({ type }) => type === 'tool_result')
  if (results.length > 0)
    return piecesOf(
      `The tools say: ${results.map(({ content }) => blocksIn(content).map(({ text }) => text)).join('; ')}`,
    )
  return loremPieces(numberOf(directives, 'chunks', 0, settings.chunks))
}

/** Up to the first sequence at which it was told to stop. */
function stopped(pieces: string[], stops: string[]): { pieces: string[]; stopSequence: string | null } {
  const text = pieces.join('')
  const found = stops.map((stop) => ({ stop, at: text.indexOf(stop) })).filter(({ at }) => at >= 0)
  const first = found.sort((one, other) => one.at - other.at)[0]
  return first
    ? { pieces: piecesOf(text.slice(0, first.at)), stopSequence: first.stop }
    : { pieces, stopSequence: null }
}

function callsFor(body: MessageBody, directives: Directives): Call[] {
  const tools = body.tools ?? []
  const choice = body.tool_choice
  if (tools.length === 0 || choice?.type === 'none') return []
  const wanted =
    choice?.type === 'tool'
      ? [{ name: choice.name ?? '', args: argsFor(directives, choice.name) }]
      : callsOf(directives)
  // Told to call one of its own choice, it takes the last: the one for answers in JSON stands there.
  const asked =
    wanted.length === 0 && choice?.type === 'any' ? [{ name: tools.at(-1)?.name ?? '', args: undefined }] : wanted
  const kept = choice?.disable_parallel_tool_use ? asked.slice(0, 1) : asked
  return kept.map(({ name, args }, at) => {
    const schema = tools.find((tool) => tool.name === name)?.input_schema ?? {}
    return { id: `toolu_emulated_${at}_${name}`, name, args: args ?? JSON.stringify(conforming(schema)) }
  })
}

const argsFor = (directives: Directives, name: string | undefined): string | undefined =>
  callsOf(directives).find((call) => call.name === name)?.args

/** Books what has been generated, of which the whole is `reply`. */
export function book(record: CallRecord, { tokens }: Reply, output: number): void {
  record.tokens = { ...tokens, output, thinking: Math.min(tokens.thinking, output) }
}

export function usageOf({ tokens }: Reply, body: MessageBody, version: Version, output = tokens.output): unknown {
  return {
    input_tokens: tokens.input,
    cache_creation_input_tokens: tokens.cacheWrite5m + tokens.cacheWrite1h,
    cache_read_input_tokens: tokens.cacheRead,
    cache_creation: {
      ephemeral_5m_input_tokens: tokens.cacheWrite5m,
      ephemeral_1h_input_tokens: tokens.cacheWrite1h,
    },
    output_tokens: output,
    output_tokens_details: { thinking_tokens: Math.min(tokens.thinking, output) },
    server_tool_use: null,
    service_tier: body.service_tier === 'auto' ? 'priority' : 'standard',
    inference_geo: 'global',
    ...(version === '2026-10-21' ? { speed: null } : {}),
  }
}
