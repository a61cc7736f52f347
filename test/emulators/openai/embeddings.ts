import { hashText, seededRandom } from '../random.ts'
import { accept } from './intake.ts'
import { problem, turnAway } from './problems.ts'
import type { Exchange, State } from './state.ts'
import { tokensOf } from './tokens.ts'
import { endAnswer } from './wire.ts'

export interface EmbedBody {
  model: string
  input: string | string[] | number[] | number[][]
  encoding_format?: 'float' | 'base64'
  dimensions?: number
}

const dimensionsOf: Record<string, number> = {
  'text-embedding-3-small': 1_536,
  'text-embedding-3-large': 3_072,
  'text-embedding-ada-002': 1_536,
}

/** `POST /embeddings`: the same text gives the same vector of length one. */
export async function embed(state: State, exchange: Exchange, body: EmbedBody): Promise<void> {
  const inputs = inputsOf(body.input)
  const tokens = inputs.reduce((sum, input) => sum + tokenCount(input), 0)
  if (state.settings.server === 'openai' && inputs.some((input) => tokenCount(input) > 8_192))
    return turnAway(state, exchange, problem(400, null, "This model's maximum context length is 8192 tokens.", 'input'))
  const accepted = await accept(state, exchange, {
    kind: 'embedding',
    model: body.model,
    stream: false,
    text: inputs.filter((input) => typeof input === 'string').join('\n'),
    tokens,
  })
  if (!accepted) return
  accepted.record.tokens.prompt = tokens
  const tellsUsage = !accepted.directives.has('no_usage')
  accepted.record.usageTold = tellsUsage
  const length = body.dimensions ?? dimensionsOf[body.model] ?? 384
  const data = inputs.map((input, index) => {
    const vector = vectorOf(String(input), length)
    const written = body.encoding_format === 'base64' ? Buffer.from(vector.buffer).toString('base64') : [...vector]
    return { object: 'embedding', index, embedding: written }
  })
  const usage = { prompt_tokens: tokens, total_tokens: tokens }
  const answer = { object: 'list', data, model: body.model, ...(tellsUsage ? { usage } : {}) }
  await endAnswer(state, exchange, accepted, JSON.stringify(answer))
}

const inputsOf = (input: EmbedBody['input']): (string | number[])[] =>
  typeof input === 'string'
    ? [input]
    : typeof input[0] === 'number'
      ? [input as number[]]
      : (input as string[] | number[][])

const tokenCount = (input: string | number[]): number => (typeof input === 'string' ? tokensOf(input) : input.length)

export function vectorOf(text: string, length: number): Float32Array {
  const random = seededRandom(hashText(text))
  const vector = Float32Array.from({ length }, () => random() - 0.5)
  const norm = Math.hypot(...vector)
  return vector.map((value) => value / norm)
}
