import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { HumanMessage, ToolMessage } from '@langchain/core/messages'
import { tool as langchainTool } from '@langchain/core/tools'
import { ChatOpenAI, type ChatOpenAIFields, OpenAIEmbeddings } from '@langchain/openai'
import { embedMany, generateObject, generateText, isStepCount, jsonSchema, streamText, tool } from 'ai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { UsageReport } from '../../src/contract/usage-report.ts'
import type { AnthropicEmulator } from '../emulators/anthropic.ts'
import type { OpenAiEmulator } from '../emulators/openai.ts'
import {
  CHAT,
  CLAUDE,
  EMBEDDING,
  type Line,
  ledgerAtRest,
  startAnthropicHere,
  startLine,
  startOpenAiHere,
} from './line.ts'
import { until } from './support.ts'

/** Clients that people use, unchanged: only their address is Switchyard's. Each speaks to OpenAI and to Anthropic alike. */

let line: Line
let openai: OpenAiEmulator
let anthropic: AnthropicEmulator

beforeAll(async () => {
  openai = await startOpenAiHere()
  anthropic = await startAnthropicHere()
  line = await startLine({ openai, anthropic })
})
afterAll(async () => {
  const ledger = await ledgerAtRest(line)
  expect([ledger.held_usd, ledger.difference_usd, ledger.presumed_usd]).toEqual([0, 0, 0])
})

const PERSON = {
  type: 'object',
  properties: { name: { type: 'string' }, age: { type: 'integer' } },
  required: ['name', 'age'],
  additionalProperties: false,
} as const
const CITY = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } as const
const SAID = 'Grüße, 灯 🚢!'

describe.each([CHAT, CLAUDE])('the AI SDK with %s', (model) => {
  const provider = () =>
    createOpenAICompatible({
      name: 'switchyard',
      baseURL: line.url,
      apiKey: line.key,
      includeUsage: true,
      supportsStructuredOutputs: true,
    })

  test('generates a text', async () => {
    const { text, usage, finishReason } = await generateText({
      model: provider()(model),
      prompt: `hello [[say:${SAID}]]`,
      maxRetries: 0,
    })
    expect([text, finishReason]).toEqual([SAID, 'stop'])
    expect(usage.outputTokens).toBeGreaterThan(0)
  })

  test('streams a text, with its usage', async () => {
    const result = streamText({ model: provider()(model), prompt: `hello [[say:${SAID}]] [[split:1]]`, maxRetries: 0 })
    let text = ''
    for await (const piece of result.textStream) text += piece
    expect(text).toBe(SAID)
    expect((await result.usage).inputTokens).toBeGreaterThan(0)
  })

  test('runs a loop of tools to its end, streaming or not', async () => {
    const tools = {
      weather: tool({
        description: 'The weather of a city',
        inputSchema: jsonSchema<{ city: string }>(CITY),
        execute: async ({ city }) => `rain in ${city}`,
      }),
    }
    const question = {
      model: provider()(model),
      prompt: 'How is it there? [[call:weather:{"city":"Köln"}]]',
      tools,
      stopWhen: isStepCount(3),
      maxRetries: 0,
    }
    const whole = await generateText(question)
    expect(whole.steps.map(({ toolCalls }) => toolCalls.map(({ input }) => input))).toEqual([[{ city: 'Köln' }], []])
    expect(whole.text).toContain('rain in Köln')
    const streamed = streamText(question)
    expect(await streamed.text).toContain('rain in Köln')
    expect(await streamed.finishReason).toBe('stop')
  })

  test('generates an object by a schema', async () => {
    const { object } = await generateObject({
      model: provider()(model),
      schema: jsonSchema<{ name: string; age: number }>(PERSON),
      prompt: 'who?',
      maxRetries: 0,
    })
    expect(object).toEqual({ name: expect.any(String), age: expect.any(Number) })
  })
})

test('the AI SDK embeds', async () => {
  const { textEmbeddingModel } = createOpenAICompatible({ name: 'switchyard', baseURL: line.url, apiKey: line.key })
  const { embeddings, usage } = await embedMany({ model: textEmbeddingModel(EMBEDDING), values: ['one', 'two'] })
  expect(embeddings.map(({ length }) => length)).toEqual([1536, 1536])
  expect(usage.tokens).toBeGreaterThan(0)
})

test('the AI SDK is told of a call that fails as it tells its users', async () => {
  const provider = createOpenAICompatible({ name: 'switchyard', baseURL: line.url, apiKey: 'sy_none' })
  await expect(generateText({ model: provider(CHAT), prompt: 'x', maxRetries: 0 })).rejects.toMatchObject({
    name: 'AI_APICallError',
    statusCode: 401,
  })
})

/** Its own type of a message does not know the field that it documents. */
const tokensOf = (message: object) => ({
  ...{ input_tokens: 0, output_tokens: 0 },
  ...(message as { usage_metadata?: { input_tokens: number; output_tokens: number } }).usage_metadata,
})

describe.each([CHAT, CLAUDE])('LangChain with %s', (model) => {
  const chat = (more: ChatOpenAIFields = {}) =>
    new ChatOpenAI({ model, apiKey: line.key, maxRetries: 0, configuration: { baseURL: line.url }, ...more })

  test('invokes', async () => {
    const answer = await chat().invoke(`hello [[say:${SAID}]]`)
    expect(answer.text).toBe(SAID)
    expect(tokensOf(answer).output_tokens).toBeGreaterThan(0)
  })

  test('streams, with the usage in the last chunk', async () => {
    let text = ''
    let tokens = 0
    for await (const chunk of await chat({ streamUsage: true }).stream(`hello [[say:${SAID}]] [[split:1]]`)) {
      text += chunk.text
      tokens += tokensOf(chunk).input_tokens
    }
    expect(text).toBe(SAID)
    expect(tokens).toBeGreaterThan(0)
  })

  test('runs a loop of tools to its end', async () => {
    const weather = langchainTool(async ({ city }: { city: string }) => `rain in ${city}`, {
      name: 'weather',
      description: 'The weather of a city',
      schema: CITY,
    })
    const bound = chat().bindTools([weather])
    const question = new HumanMessage('How is it there? [[call:weather:{"city":"Köln"}]]')
    const first = await bound.invoke([question])
    expect(first.tool_calls).toMatchObject([{ name: 'weather', args: { city: 'Köln' } }])
    const results = (first.tool_calls ?? []).map(
      ({ id = '', args }) => new ToolMessage({ tool_call_id: id, content: `rain in ${args['city']}` }),
    )
    const second = await bound.invoke([question, first, ...results])
    expect(second.text).toContain('rain in Köln')
  })

  test.each(['jsonSchema', 'functionCalling'] as const)('gets an object by %s', async (method) => {
    const structured = chat().withStructuredOutput(PERSON, { name: 'person', method })
    expect(await structured.invoke('who?')).toEqual({ name: expect.any(String), age: expect.any(Number) })
  })
})

test('LangChain embeds', async () => {
  const embeddings = new OpenAIEmbeddings({ model: EMBEDDING, apiKey: line.key, configuration: { baseURL: line.url } })
  const vectors = await embeddings.embedDocuments(['one', 'two'])
  expect(vectors.map(({ length }) => length)).toEqual([1536, 1536])
  expect((await embeddings.embedQuery('one'))[0]).toBeCloseTo(vectors[0]?.[0] ?? 9, 5)
})

test('every call of every client is counted once, as the providers have counted it', async () => {
  const accepted = openai.stats().accepted + anthropic.stats().accepted
  const { total } = await until(
    () => line.root.ask<UsageReport>('GET', `${line.base}/usage`),
    (usage) => usage.total.attempts >= accepted,
  )
  expect([total.attempts, total.jobs.succeeded]).toEqual([accepted, accepted])
  expect(total.errors).toEqual({})
})
