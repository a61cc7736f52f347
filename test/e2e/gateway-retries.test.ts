import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { ChatOpenAI } from '@langchain/openai'
import { generateText } from 'ai'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Job } from '../../src/contract/job.ts'
import type { AnthropicEmulator } from '../emulators/anthropic.ts'
import type { OpenAiEmulator } from '../emulators/openai.ts'
import {
  ask,
  CHAT,
  CLAUDE,
  EMBEDDING,
  type Line,
  ledgerAtRest,
  startAnthropicHere,
  startLine,
  startOpenAiHere,
} from './line.ts'
import { allJobs } from './support.ts'

/**
 * Clients that repeat by themselves, as often as they come: what failed and cost nothing is repeated and stands in the books
 * try by try, what was sent and may have to be paid is not.
 */

let openai: OpenAiEmulator
let anthropic: AnthropicEmulator
let line: Line

beforeAll(async () => {
  openai = await startOpenAiHere()
  anthropic = await startAnthropicHere()
  line = await startLine({ openai: { url: openai.url, settings: { timeout_ms: 1_000 } }, anthropic })
})
afterAll(async () => {
  const ledger = await ledgerAtRest(line)
  expect([ledger.held_usd, ledger.difference_usd]).toEqual([0, 0])
})

/** What a client was answered, request by request. `afterFirst` runs before it hears of the first. */
const listening = (afterFirst: () => void = () => {}) => {
  const answers: { status: number; shouldRetry: string | null }[] = []
  const listen: typeof fetch = async (input, init) => {
    const response = await fetch(input, init)
    answers.push({ status: response.status, shouldRetry: response.headers.get('x-should-retry') })
    if (answers.length === 1) afterFirst()
    return response
  }
  return { answers, listen }
}

/** Each repeats as often as it comes, if nothing more is said. */
const asOpenAi = async (listen: typeof fetch, content: string): Promise<string | null | undefined> => {
  const client = new OpenAI({ baseURL: line.url, apiKey: line.key, fetch: listen })
  const answer = await client.chat.completions.create({ model: CHAT, messages: ask(content) })
  return answer.choices[0]?.message.content
}
const asAiSdk = async (listen: typeof fetch, prompt: string, more: object = {}): Promise<string> => {
  const provider = createOpenAICompatible({ name: 'sy', baseURL: line.url, apiKey: line.key, fetch: listen })
  return (await generateText({ model: provider(CHAT), prompt, ...more })).text
}
const asLangChain = async (listen: typeof fetch, content: string, more: object = {}): Promise<string> => {
  const configuration = { baseURL: line.url, fetch: listen }
  return (await new ChatOpenAI({ model: CHAT, apiKey: line.key, configuration, ...more }).invoke(content)).text
}

/** What the provider has counted and what stands in the books, since then. */
const counting = async () => {
  const jobs = async () => (await allJobs(line.root, line.base)).length
  const before = { openai: openai.stats(), anthropic: anthropic.stats().requests, jobs: await jobs() }
  const { attempts, presumed_usd, settled_usd } = await ledgerAtRest(line)
  return async () => {
    const { requests, accepted } = openai.stats()
    const all = await allJobs(line.root, line.base)
    const ledger = await ledgerAtRest(line)
    return {
      requests: requests - before.openai.requests,
      accepted: accepted - before.openai.accepted,
      others: anthropic.stats().requests - before.anthropic,
      attempts: ledger.attempts - attempts,
      presumed: ledger.presumed_usd > presumed_usd,
      settled: ledger.settled_usd > settled_usd,
      /** The earliest first. */
      jobs: all
        .slice(0, all.length - before.jobs)
        .reverse()
        .map(({ status, attempts }: Job) => [status, ...attempts.map(({ outcome }) => outcome)]),
    }
  }
}

describe('what failed and cost nothing is repeated', () => {
  test.each([
    ['OpenAI’s client', asOpenAi],
    ['the AI SDK', asAiSdk],
    ['LangChain', asLangChain],
  ])('by %s, where the provider is down for longer than Switchyard tries', async (_who, call) => {
    const since = await counting()
    openai.control({ faultRate: 1, faults: ['fail:503'] })
    const { answers, listen } = listening(() => openai.control({ faultRate: 0 }))
    expect(await call(listen, 'hello [[say:back again]]')).toBe('back again')
    expect(answers).toEqual([
      { status: 502, shouldRetry: null },
      { status: 200, shouldRetry: null },
    ])
    const failed = ['provider_unavailable', 'provider_unavailable', 'provider_unavailable']
    expect(await since()).toMatchObject({
      requests: 4,
      accepted: 1,
      settled: true,
      presumed: false,
      jobs: [
        ['failed', ...failed],
        ['succeeded', 'done'],
      ],
    })
  })

  test('by OpenAI’s client, where the provider is asked too fast and the wait is longer than the call has', async () => {
    const since = await counting()
    const { answers, listen } = listening()
    const client = new OpenAI({ baseURL: line.url, apiKey: line.key, fetch: listen })
    const asked = { model: CHAT, messages: ask('quick [[fail_once:429]] [[retry_after_ms:2000]] [[say:quick]]') }
    const answer = await client.chat.completions.create({ ...asked, ...{ deadline_s: 2 } })
    expect(answer.choices[0]?.message.content).toBe('quick')
    expect(answers.map(({ status }) => status)).toEqual([502, 200])
    expect(await since()).toMatchObject({
      requests: 2,
      accepted: 1,
      presumed: false,
      jobs: [
        ['failed', 'provider_rate_limited'],
        ['succeeded', 'done'],
      ],
    })
  })
})

describe('what was sent and may have to be paid is asked once', () => {
  const LOST = ['[[cut_after]]', 'outcome_unknown'] as const
  const LATE = ['[[stall]]', 'provider_timeout'] as const
  const chat = (client: OpenAI, content: string, more: object = {}) =>
    client.chat.completions.create({ model: CHAT, messages: ask(content), ...more, ...{ models: [CLAUDE] } })
  const stream = (client: OpenAI, content: string) => chat(client, content, { stream: true })
  const embed = (client: OpenAI, content: string) =>
    client.embeddings.create({
      model: EMBEDDING,
      input: `${'word '.repeat(400)}${content}`,
      ...{ models: ['openai/text-embedding-3-large'] },
    })
  const once = { requests: 1, accepted: 1, others: 0, attempts: 1, settled: false, presumed: true }

  test.each([
    ['a chat whose answer was lost', ...LOST, chat],
    ['a chat whose answer does not come in time', ...LATE, chat],
    ['a stream that was lost before its first text', ...LOST, stream],
    ['a stream that does not begin in time', ...LATE, stream],
    ['embeddings that were lost', ...LOST, embed],
  ])('by OpenAI’s client, and of no other model: %s', async (_what, directive, code, call) => {
    // Many failures in a row would open the provider's breaker.
    expect(await asOpenAi(fetch, 'hello [[say:all is well]]')).toBe('all is well')
    const since = await counting()
    const { answers, listen } = listening()
    const client = new OpenAI({ baseURL: line.url, apiKey: line.key, fetch: listen })
    await expect(call(client, `please answer ${directive}`)).rejects.toMatchObject({ status: 502, code })
    expect(answers).toEqual([{ status: 502, shouldRetry: 'false' }])
    expect(await since()).toEqual({ ...once, jobs: [['failed', code]] })
  })

  // They repeat every 5xx by default, whatever a header says of it.
  test.each([
    ['the AI SDK', asAiSdk],
    ['LangChain', asLangChain],
  ])('by %s with maxRetries: 0', async (_who, call) => {
    expect(await asOpenAi(fetch, 'hello [[say:all is well]]')).toBe('all is well')
    const since = await counting()
    await expect(call(fetch, 'please answer [[cut_after]]', { maxRetries: 0 })).rejects.toThrow('The connection broke')
    expect(await since()).toEqual({ ...once, jobs: [['failed', 'outcome_unknown']] })
  })
})
