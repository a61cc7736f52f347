import { type ChatInput, REASONING_EFFORTS } from '../contract/chat.ts'
import { DECIDING_FIELDS, type Flavor } from './chat-flavor.ts'
import type { ChatCard, EmbedCard, TextProvider } from './dialect.ts'
import { bearerOf, chatDialect } from './openai-chat.ts'
import { embedDialect } from './openai-embeddings.ts'

/**
 * Servers of one's own that speak OpenAI's dialect. Their models are whatever their owner has loaded, so nothing is assumed
 * of one but that it may do what its server can; what it cannot, the server says.
 */

const fields = (...lacking: (keyof ChatInput)[]): Set<keyof ChatInput> =>
  new Set([...DECIDING_FIELDS, ...SAMPLING].filter((field) => !lacking.includes(field)))

const SAMPLING = [
  'temperature',
  'top_p',
  'frequency_penalty',
  'presence_penalty',
  'seed',
  'reasoning_effort',
  'parallel_tool_calls',
] as const satisfies readonly (keyof ChatInput)[]

const flavorOf = (id: string, name: string, takes: Set<keyof ChatInput>): Flavor => ({
  id,
  name,
  reach: ({ baseUrl, secret }) => ({ root: baseUrl, headers: bearerOf(secret) }),
  limitField: 'max_tokens',
  developerRole: false,
  takes,
  nativeFields: 'any',
  strictTerminator: false,
})

export const unlistedChat = (model: string): ChatCard => ({
  model,
  contextTokens: null,
  maxOutputTokens: null,
  images: true,
  tools: true,
  jsonObject: true,
  jsonSchema: true,
  reasoning: REASONING_EFFORTS,
  sampling: true,
  logprobs: true,
  qualityRank: 2,
  typicalMs: 5_000,
})

const unlistedEmbed = (model: string): EmbedCard => ({
  model,
  contextTokens: null,
  dimensions: null,
  shortens: true,
  takesTokens: false,
  inputsMax: 2_048,
  qualityRank: 2,
  typicalMs: 1_000,
})

const server = (flavor: Flavor, port: number, concurrency: number, base64: boolean): TextProvider => ({
  id: flavor.id,
  title: flavor.name,
  defaultBaseUrl: `http://localhost:${port}/v1`,
  defaultLimits: { concurrency },
  countsBy: 'account',
  needsSecret: false,
  chat: chatDialect(flavor),
  embed: embedDialect(flavor, { base64, user: false }),
  chatModels: [],
  embedModels: [],
  unlisted: { chat: unlistedChat, embed: unlistedEmbed },
})

/**
 * https://docs.ollama.com/api/openai-compatibility: no `tool_choice`, `logit_bias`, `n` or log probabilities. It works on a
 * few requests at a time and queues the others.
 */
export const ollama = server(
  flavorOf(
    'ollama',
    'Ollama',
    fields('tool_choice', 'parallel_tool_calls', 'logit_bias', 'n', 'logprobs', 'top_logprobs'),
  ),
  11_434,
  4,
  true,
)

/** https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html */
export const vllm = server(flavorOf('vllm', 'vLLM', new Set([...fields(), 'user'])), 8_000, 64, true)

/** https://github.com/ggml-org/llama.cpp/tree/master/tools/server */
export const llamaCpp = server(flavorOf('llama-cpp', 'llama.cpp', fields('n')), 8_080, 4, true)

export const LOCAL_SERVERS: readonly TextProvider[] = [ollama, vllm, llamaCpp]
