import type { JsonSchema } from '../openai/schema-value.ts'

/** A request that has passed the reference. */

export interface Block {
  type: string
  text?: string
  id?: string
  name?: string
  input?: unknown
  tool_use_id?: string
  content?: string | Block[]
  thinking?: string
  signature?: string
  data?: string
  citations?: unknown[] | null
  cache_control?: unknown
}

export interface Turn {
  role: 'user' | 'assistant'
  content: string | Block[]
}

export interface MessageBody {
  model: string
  max_tokens: number
  messages: Turn[]
  system?: string | Block[]
  tools?: { name: string; input_schema?: JsonSchema; cache_control?: unknown; strict?: boolean }[]
  tool_choice?: { type: 'auto' | 'any' | 'tool' | 'none'; name?: string; disable_parallel_tool_use?: boolean }
  thinking?: { type: string; budget_tokens?: number; display?: 'summarized' | 'omitted' | null }
  output_config?: { effort?: string | null; format?: { schema: JsonSchema } | null }
  stop_sequences?: string[]
  temperature?: number
  top_p?: number
  stream?: boolean
  service_tier?: 'auto' | 'standard_only'
  cache_control?: unknown
}

export const blocksIn = (content: string | Block[] | undefined): Block[] =>
  content === undefined ? [] : typeof content === 'string' ? [{ type: 'text', text: content }] : content

const textIn = (content: string | Block[] | undefined): string =>
  blocksIn(content)
    .map((block) => (block.type === 'tool_result' ? textIn(block.content) : (block.text ?? '')))
    .join('')

export const promptOf = ({ system, messages }: MessageBody): string =>
  [textIn(system), ...messages.map(({ content }) => textIn(content))].join('\n')

/** The words of the last turn alone: a conversation keeps its older directives, and only the newest count. */
export const lastTextOf = ({ messages }: MessageBody): string => textIn(messages.at(-1)?.content)
