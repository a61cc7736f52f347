import type { ChatInput } from '../contract/chat.ts'
import { DECIDING_FIELDS, type Flavor } from './chat-flavor.ts'
import type { ChatCard, EmbedCard, TextProvider } from './dialect.ts'
import { bearerOf, chatDialect } from './openai-chat.ts'
import { embedDialect } from './openai-embeddings.ts'

/**
 * Workers AI by its OpenAI-compatible REST
 * (https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility/). A secret is `{account id}:{API token}`,
 * so that several accounts may be used in turn; with a base URL that names the account the token alone will do.
 */

const ACCOUNT = '{account_id}'
const ACCOUNT_AND_TOKEN = /^([0-9a-f]{32}):(.+)$/s

const reach: Flavor['reach'] = ({ baseUrl, secret }) => {
  const [, account, token] = ACCOUNT_AND_TOKEN.exec(secret) ?? []
  return { root: baseUrl.replace(ACCOUNT, account ?? ''), headers: bearerOf(token ?? secret) }
}

const LACKING = new Set<keyof ChatInput>(['n', 'logprobs', 'top_logprobs', 'logit_bias'])

const flavor: Flavor = {
  id: 'workers-ai',
  name: 'Workers AI',
  reach,
  limitField: 'max_tokens',
  developerRole: false,
  takes: new Set<keyof ChatInput>([
    ...DECIDING_FIELDS.filter((field) => !LACKING.has(field)),
    'temperature',
    'top_p',
    'frequency_penalty',
    'presence_penalty',
    'seed',
    'reasoning_effort',
  ]),
  nativeFields: new Set(['top_k', 'repetition_penalty', 'chat_template_kwargs']),
  strictTerminator: false,
}

const chat = (model: string, tokens: number | null, qualityRank: number, more: Partial<ChatCard> = {}): ChatCard => ({
  model,
  contextTokens: tokens,
  maxOutputTokens: tokens,
  images: false,
  tools: true,
  jsonObject: true,
  jsonSchema: true,
  reasoning: [],
  sampling: true,
  logprobs: false,
  qualityRank,
  typicalMs: 4_000,
  ...more,
})

const GPT_OSS: Partial<ChatCard> = { reasoning: ['low', 'medium', 'high'] }

const embed = (model: string, contextTokens: number | null, dimensions: number, qualityRank: number): EmbedCard => ({
  model,
  contextTokens,
  dimensions,
  shortens: false,
  takesTokens: false,
  // The most texts that one call may hold.
  inputsMax: 100,
  qualityRank,
  typicalMs: 500,
})

export const workersAi: TextProvider = {
  id: 'workers-ai',
  title: 'Workers AI',
  defaultBaseUrl: `https://api.cloudflare.com/client/v4/accounts/${ACCOUNT}/ai/v1`,
  // By task and minute: 300 texts and 3,000 embeddings. The smaller one holds for the provider.
  defaultLimits: { concurrency: 50, requestsPerMinute: 300 },
  countsBy: 'account',
  needsSecret: true,
  chat: chatDialect(flavor),
  embed: embedDialect(flavor, { base64: false, user: false }),
  chatModels: [
    chat('@cf/openai/gpt-oss-120b', 128_000, 4, GPT_OSS),
    chat('@cf/openai/gpt-oss-20b', 128_000, 3, GPT_OSS),
    chat('@cf/meta/llama-3.3-70b-instruct-fp8-fast', 24_000, 3),
    chat('@cf/meta/llama-3.1-8b-instruct-fp8-fast', null, 1),
    chat('@cf/meta/llama-4-scout-17b-16e-instruct', 131_000, 3, { images: true }),
    chat('@cf/moonshotai/kimi-k2.6', 262_144, 4),
    chat('@cf/zai-org/glm-5.2', 262_144, 4),
    chat('@cf/qwen/qwen3-30b-a3b-fp8', 32_768, 2),
    chat('@cf/google/gemma-4-26b-a4b-it', 256_000, 2, { images: true }),
  ],
  embedModels: [
    embed('@cf/baai/bge-m3', 8_192, 1_024, 4),
    embed('@cf/baai/bge-large-en-v1.5', 512, 1_024, 3),
    embed('@cf/baai/bge-small-en-v1.5', 512, 384, 2),
    embed('@cf/qwen/qwen3-embedding-0.6b', 8_192, 1_024, 4),
  ],
  unlisted: null,
}
