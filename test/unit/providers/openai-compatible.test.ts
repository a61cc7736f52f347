import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { AttemptFaultCode } from '../../../src/contract/fault.ts'
import type { TextProvider } from '../../../src/providers/dialect.ts'
import { llamaCpp, ollama, vllm } from '../../../src/providers/local-servers.ts'
import { findChatModel, findEmbedModel, TEXT_PROVIDERS } from '../../../src/providers/text-registry.ts'
import { workersAi } from '../../../src/providers/workers-ai.ts'
import type { Server } from '../../emulators/openai/settings.ts'
import { type OpenAiEmulator, startOpenAi } from '../../emulators/openai.ts'
import { chatCall, chatOf, complete, inputOf, stream } from './text-call.ts'

const ACCOUNT = '0123456789abcdef0123456789abcdef'

const SUBJECTS: [Server, TextProvider, string][] = [
  ['ollama', ollama, 'llama3.2'],
  ['vllm', vllm, 'Qwen/Qwen3-8B'],
  ['llama.cpp', llamaCpp, 'gemma'],
  ['workers-ai', workersAi, '@cf/openai/gpt-oss-20b'],
]

describe.each(SUBJECTS)('%s', (server, provider, model) => {
  let emulator: OpenAiEmulator
  const secret = server === 'workers-ai' ? `${ACCOUNT}:cf-token` : ''
  const at = () => ({
    baseUrl:
      server === 'workers-ai'
        ? provider.defaultBaseUrl.replace('https://api.cloudflare.com', emulator.url)
        : `${emulator.url}/v1`,
    secret,
    model,
  })
  beforeAll(async () => {
    emulator = await startOpenAi({ server })
  })
  afterEach(() => emulator.reset())
  afterAll(() => emulator.close())

  it('ends well without terminator once it has said why it ended', async () => {
    expect((await stream(provider, at(), inputOf('hello [[no_done]]'))).end.fault).toBeNull()
  })

  it('that has no such model is told by the field at fault', async () => {
    const { outcome } = await complete(provider, at(), inputOf('hello [[fail:404]]'))
    expect(outcome).toMatchObject({ kind: 'fault', code: 'provider_rejected', param: 'model' })
  })
})

describe('a server of one’s own', () => {
  it.each([
    ['ollama', ollama],
    ['vllm', vllm],
    ['llama.cpp', llamaCpp],
  ] as const)('%s, whose path is not there, is not told to lack the model', async (server, provider) => {
    const emulator = await startOpenAi({ server })
    const at = { baseUrl: `${emulator.url}/v1`, model: 'm' }
    const { outcome } = await complete(provider, at, inputOf('hello [[fail:404:]]'))
    await emulator.close()
    expect(outcome).toMatchObject({ kind: 'fault', code: 'provider_rejected' })
    expect(outcome).not.toHaveProperty('param')
  })

  it('that has no such model says so', async () => {
    const emulator = await startOpenAi({ server: 'ollama' })
    const { outcome } = await complete(ollama, { baseUrl: `${emulator.url}/v1`, model: 'missing' }, inputOf('hello'))
    await emulator.close()
    expect(outcome).toMatchObject({ code: 'provider_rejected', message: expect.stringContaining('try pulling it') })
  })

  it('shows its thoughts under one name', async () => {
    const emulator = await startOpenAi({ server: 'vllm' })
    const at = { baseUrl: `${emulator.url}/v1`, model: 'qwq' }
    const whole = await complete(vllm, at, inputOf('hello [[reasoning:4]]'))
    const parts = await stream(vllm, at, inputOf('hello [[reasoning:4]]'))
    await emulator.close()
    expect(whole.outcome).toMatchObject({
      completion: { choices: [{ message: { reasoning_content: 'Let me think.' } }] },
      usage: { reasoningTokens: 4 },
    })
    expect(parts.text).toContain('Let me think.')
  })

  it('is let in without a secret', () => {
    const call = chatCall(ollama, { baseUrl: 'http://x/v1', secret: '', model: 'm' }, inputOf('hello'))
    expect(chatOf(ollama).encode(call).headers).toEqual({})
  })
})

describe('Workers AI', () => {
  let emulator: OpenAiEmulator
  beforeAll(async () => {
    emulator = await startOpenAi({ server: 'workers-ai' })
  })
  afterAll(() => emulator.close())

  it('finds its account in the secret or in its base', () => {
    const url = (baseUrl: string, secret: string) => {
      const call = chatCall(workersAi, { baseUrl, secret, model: '@cf/openai/gpt-oss-20b' }, inputOf('x'))
      const encoded = chatOf(workersAi).encode(call)
      return [encoded.url, encoded.headers['authorization']]
    }
    expect(url(workersAi.defaultBaseUrl, `${ACCOUNT}:token`)).toEqual([
      `https://api.cloudflare.com/client/v4/accounts/${ACCOUNT}/ai/v1/chat/completions`,
      'Bearer token',
    ])
    expect(url(`https://api.cloudflare.com/client/v4/accounts/${ACCOUNT}/ai/v1`, 'token')[1]).toBe('Bearer token')
  })

  it.each<[string, AttemptFaultCode, object?]>([
    ['[[fail:429:3036]]', 'provider_quota_exhausted', { retryAfterMs: 3_600_000 }],
    ['[[fail:429:3040]]', 'provider_unavailable'],
    ['[[fail:400:5007]]', 'provider_rejected', { param: 'model' }],
    ['[[fail:404:3042]]', 'provider_rejected', { param: 'model' }],
    ['[[fail:400:5004]]', 'provider_rejected'],
    ['[[fail:403:5018]]', 'provider_rejected', { param: 'model' }],
    ['[[fail:408:3007]]', 'provider_timeout'],
    ['[[fail:401:10000]]', 'provider_auth_failed'],
    ['[[fail:413:3006]]', 'provider_rejected'],
  ])('%s is %s', async (directive, code, more = {}) => {
    const baseUrl = `${emulator.url}/client/v4/accounts/${ACCOUNT}/ai/v1`
    const { outcome } = await complete(
      workersAi,
      { baseUrl, model: '@cf/openai/gpt-oss-20b' },
      inputOf(`hello ${directive}`),
    )
    expect(outcome).toMatchObject({ kind: 'fault', code, ...more })
  })
})

describe('the list of providers of text', () => {
  it('finds a model by its full name, whatever stands in it', () => {
    expect(findChatModel('openai/gpt-5-mini')?.card.model).toBe('gpt-5-mini')
    expect(findChatModel('workers-ai/@cf/openai/gpt-oss-20b')?.provider.id).toBe('workers-ai')
    expect(findChatModel('vllm/Qwen/Qwen3-8B')?.card.model).toBe('Qwen/Qwen3-8B')
    expect(findEmbedModel('openai/text-embedding-3-small')?.card.dimensions).toBe(1_536)
    expect(findEmbedModel('ollama/nomic-embed-text')?.card.model).toBe('nomic-embed-text')
    for (const name of ['openai/nothing', 'gpt-5-mini', 'vllm/', 'nobody/x', 'openai/text-embedding-3-small'])
      expect(findChatModel(name)).toBeNull()
  })

  it('has every provider and model once, with sane cards', () => {
    expect(new Set(TEXT_PROVIDERS.map(({ id }) => id)).size).toBe(TEXT_PROVIDERS.length)
    for (const { chatModels, embedModels } of TEXT_PROVIDERS) {
      expect(new Set(chatModels.map(({ model }) => model)).size).toBe(chatModels.length)
      for (const { qualityRank, typicalMs } of [...chatModels, ...embedModels]) {
        expect([1, 2, 3, 4, 5]).toContain(qualityRank)
        expect(typicalMs).toBeGreaterThan(0)
      }
      for (const { contextTokens, maxOutputTokens } of chatModels)
        if (contextTokens !== null && maxOutputTokens !== null)
          expect(maxOutputTokens).toBeLessThanOrEqual(contextTokens)
    }
  })
})
