import { expect, test } from 'vitest'
import { PROVIDERS } from '../../../src/providers/registry.ts'
import { TEXT_PROVIDERS, textProviderOf } from '../../../src/providers/text-registry.ts'

test('OpenAI, Anthropic and Gemini count by model; the others by account', () => {
  const facts = [...PROVIDERS, ...TEXT_PROVIDERS].map(({ id, countsBy }) => [id, countsBy])
  expect(Object.fromEntries(facts)).toEqual({
    openai: 'model',
    anthropic: 'model',
    google: 'model',
    ideogram: 'account',
    replicate: 'account',
    'workers-ai': 'account',
    ollama: 'account',
    vllm: 'account',
    'llama-cpp': 'account',
  })
})

test('a provider of pictures and of text counts both alike', () => {
  for (const { id, countsBy } of PROVIDERS) {
    const text = textProviderOf(id)
    if (text) expect([id, text.countsBy]).toEqual([id, countsBy])
  }
})
