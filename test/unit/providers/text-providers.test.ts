import { expect, it } from 'vitest'
import type { Route } from '../../../src/contract/route.ts'
import { anthropicText } from '../../../src/providers/anthropic-text.ts'
import { geminiText } from '../../../src/providers/gemini-text.ts'
import { llamaCpp, ollama, vllm } from '../../../src/providers/local-servers.ts'
import { openAiText } from '../../../src/providers/openai-text.ts'
import { refusesRoute } from '../../../src/providers/routes.ts'
import { TEXT_PROVIDERS } from '../../../src/providers/text-registry.ts'
import { workersAi } from '../../../src/providers/workers-ai.ts'
import { anthropicStand, behindGateway, bindingStand, geminiStand, openAiStand } from './text-contract/stands.ts'
import { ANTHROPIC_WIRE, BINDING_WIRE, GEMINI_WIRE, OPENAI_WIRE } from './text-contract/wires.ts'
import { describeTextProvider, type TextPrompts, type TextSubject } from './text-contract-suite.ts'

/** Every provider of text, and every way to one, as the shared suite knows it. */

const OPENAI_PROMPTS: TextPrompts = {
  badKey: '[[fail:401]]',
  forbidden: '[[fail:403]]',
  noModel: '[[fail:404]]',
  badInput: '[[fail:400]]',
  rateLimited: '[[fail:429]]',
  rateLimitedForSevenSeconds: '[[fail:429]] [[retry_after:7]]',
  quotaExhausted: '[[fail:429:insufficient_quota]]',
  overloaded: '[[fail:503]]',
  filtered: '[[finish:content_filter]]',
  counted: '[[cached:5]] [[reasoning:7]]',
  errorEvent: (at) => `[[error_event:server_error:${at}]]`,
}

const ANTHROPIC_PROMPTS: TextPrompts = {
  ...OPENAI_PROMPTS,
  quotaExhausted: '[[credit]]',
  overloaded: '[[fail:529]]',
  filtered: '[[refuse]]',
  counted: '[[read:5]] [[reasoning:7]]',
  errorEvent: (at) => `[[error_event:overloaded_error:${at}]]`,
}

const GEMINI_PROMPTS: TextPrompts = {
  ...OPENAI_PROMPTS,
  noModel: '[[fail:404]] [[words:models/gemini-1 is not found for API version v1]]',
  rateLimitedForSevenSeconds: '[[fail:429]] [[retry:7s]]',
  quotaExhausted: '[[fail:429]] [[quota:GenerateRequestsPerDayPerProjectPerModel]]',
  filtered: '[[finish:SAFETY]]',
  counted: '[[cached:5]] [[thoughts:7]]',
  errorEvent: (at) => `[[error_event:503:${at}]]`,
}

/** By Cloudflare's numbers: 10000 refuses a key, 971 asks for fewer requests. */
const WORKERS_AI_PROMPTS: TextPrompts = {
  ...OPENAI_PROMPTS,
  forbidden: '[[fail:403:10000]]',
  rateLimited: '[[fail:429:971]]',
  rateLimitedForSevenSeconds: '[[fail:429:971]] [[retry_after:7]]',
}

/** Nobody is billed there. */
const LOCAL_PROMPTS: TextPrompts = { ...OPENAI_PROMPTS, quotaExhausted: null }

const openai: TextSubject = {
  name: 'OpenAI',
  provider: openAiText,
  model: 'gpt-5-mini',
  blindModel: null,
  takesN: true,
  embeds: {
    model: 'text-embedding-3-small',
    dimensions: 1_536,
    base64: true,
    shortens: true,
    takesTokens: true,
    tellsUsage: true,
  },
  wire: OPENAI_WIRE,
  start: () => openAiStand('openai'),
  prompts: OPENAI_PROMPTS,
}

const anthropic: TextSubject = {
  name: 'Anthropic by 2026-10-21',
  provider: anthropicText,
  model: 'claude-opus-5-5',
  always: { provider_options: { anthropic: { version: '2026-10-21' } } },
  blindModel: null,
  takesN: false,
  embeds: null,
  wire: ANTHROPIC_WIRE,
  start: anthropicStand,
  prompts: ANTHROPIC_PROMPTS,
}

const gemini: TextSubject = {
  name: 'Gemini',
  provider: geminiText,
  model: 'gemini-3.8-flash',
  blindModel: null,
  takesN: true,
  embeds: {
    model: 'gemini-embedding-001',
    dimensions: 3_072,
    base64: false,
    shortens: true,
    takesTokens: false,
    tellsUsage: true,
  },
  wire: GEMINI_WIRE,
  start: geminiStand,
  prompts: GEMINI_PROMPTS,
}

const workers: TextSubject = {
  name: 'Workers AI by REST',
  provider: workersAi,
  model: '@cf/google/gemma-4-26b-a4b-it',
  blindModel: '@cf/openai/gpt-oss-20b',
  takesN: false,
  embeds: {
    model: '@cf/baai/bge-small-en-v1.5',
    dimensions: 384,
    base64: false,
    shortens: false,
    takesTokens: false,
    tellsUsage: true,
  },
  wire: OPENAI_WIRE,
  start: () => openAiStand('workers-ai'),
  prompts: WORKERS_AI_PROMPTS,
}

const byBinding: TextSubject = {
  ...workers,
  name: 'Workers AI by the binding, in OpenAI’s form',
  embeds: workers.embeds && { ...workers.embeds, tellsUsage: false },
  wire: BINDING_WIRE,
  start: bindingStand,
}

const local = (subject: Pick<TextSubject, 'name' | 'provider' | 'model' | 'takesN' | 'start'>): TextSubject => ({
  ...subject,
  blindModel: null,
  embeds: {
    model: 'nomic-embed-text',
    dimensions: 384,
    base64: true,
    shortens: true,
    takesTokens: false,
    tellsUsage: true,
  },
  wire: OPENAI_WIRE,
  prompts: LOCAL_PROMPTS,
})

const SUBJECTS: TextSubject[] = [
  openai,
  {
    ...anthropic,
    name: 'Anthropic by 2023-06-01',
    model: 'claude-haiku-4-5',
    always: { provider_options: { anthropic: { version: '2023-06-01' } } },
  },
  anthropic,
  gemini,
  workers,
  byBinding,
  {
    ...byBinding,
    name: 'Workers AI by the binding, in the model’s own form',
    model: '@cf/meta/llama-4-scout-17b-16e-instruct',
    prompts: { ...workers.prompts, filtered: null },
  },
  local({
    name: 'Ollama',
    provider: ollama,
    model: 'llama3.2',
    takesN: false,
    start: () => openAiStand('ollama'),
  }),
  local({
    name: 'vLLM',
    provider: vllm,
    model: 'Qwen/Qwen3-8B',
    takesN: true,
    start: () => openAiStand('vllm'),
  }),
  local({
    name: 'llama.cpp',
    provider: llamaCpp,
    model: 'gemma',
    takesN: false,
    start: () => openAiStand('llama.cpp'),
  }),
  {
    ...openai,
    name: 'OpenAI by AI Gateway',
    start: () => behindGateway('openai', 'openai', openai.start),
  },
  {
    ...anthropic,
    name: 'Anthropic by AI Gateway',
    start: () => behindGateway('anthropic', 'anthropic', anthropic.start),
  },
  {
    ...gemini,
    name: 'Gemini by AI Gateway',
    start: () => behindGateway('google', 'google-ai-studio', gemini.start),
  },
  {
    ...workers,
    name: 'Workers AI by AI Gateway',
    start: () => behindGateway('workers-ai', 'workers-ai', workers.start, (base) => base.replace(/\/v1$/, '')),
  },
]

for (const subject of SUBJECTS) describeTextProvider(subject)

it('no provider of text is left out, and no way to one', () => {
  const GATEWAY = { type: 'ai_gateway' as const, account: 'a', gateway: 'g' }
  const described = (way: RegExp) =>
    [...new Set(SUBJECTS.filter(({ name }) => way.test(name)).map(({ provider }) => provider.id))].sort()
  const led = (route: Route) => TEXT_PROVIDERS.map(({ id }) => id).filter((id) => refusesRoute(route, id) === null)
  expect(described(/^(?!.*(?:AI Gateway|binding))/)).toEqual(TEXT_PROVIDERS.map(({ id }) => id).sort())
  expect(described(/AI Gateway/)).toEqual(led(GATEWAY).sort())
  expect(described(/binding/)).toEqual(led({ type: 'binding' }).sort())
})
