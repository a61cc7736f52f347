import { Ollama } from 'ollama'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { vectorOf } from '../../emulators/openai/embeddings.ts'
import { type OpenAiEmulator, startOpenAi } from '../../emulators/openai.ts'

/** Ollama's own client speaks its own API, not OpenAI's: what runs here runs against a server of one's own. */

let emulator: OpenAiEmulator
let client: Ollama
const model = 'llama3.2'
const ask = (content: string) => [{ role: 'user', content }]

beforeAll(async () => {
  emulator = await startOpenAi({ server: 'ollama' })
  client = new Ollama({ host: emulator.url })
})
afterEach(() => emulator.reset())
afterAll(() => emulator.close())

const TOOL = {
  type: 'function',
  function: {
    name: 'weather',
    description: 'of a city',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
}

describe('Ollama’s own client', () => {
  it('chats', async () => {
    const answer = await client.chat({ model, messages: ask('hello [[say:good day]]') })
    expect(answer).toMatchObject({ message: { role: 'assistant', content: 'good day' }, done: true, eval_count: 2 })
    expect(answer.prompt_eval_count).toBe(emulator.stats().tokens.prompt)
  })

  it('streams lines, with the counts in the last', async () => {
    let text = ''
    let counted = 0
    for await (const part of await client.chat({ model, messages: ask('x [[say:Grüße, 灯 🚢!]]'), stream: true })) {
      text += part.message.content
      if (part.done) counted = part.eval_count
    }
    expect(text).toBe('Grüße, 灯 🚢!')
    expect(emulator.stats()).toMatchObject({
      tokens: { completion: counted },
      calls: [{ stream: true, usageTold: true }],
    })
  })

  it('runs a loop of tools', async () => {
    const messages = ask('weather? [[call:weather:{"city":"Rome"};weather:{"city":"Oslo"}]]')
    const { message } = await client.chat({ model, messages, tools: [TOOL] })
    expect(message.tool_calls?.map(({ function: called }) => called.arguments)).toEqual([
      { city: 'Rome' },
      { city: 'Oslo' },
    ])
    const next = [...messages, message, { role: 'tool', tool_name: 'weather', content: 'rain' }]
    expect((await client.chat({ model, messages: next, tools: [TOOL] })).message.content).toBe('The tool says: rain')
  })

  it('gets an answer that keeps to a schema, and stops at its limit', async () => {
    const shaped = await client.chat({ model, messages: ask('a city'), format: TOOL.function.parameters })
    expect(JSON.parse(shaped.message.content)).toEqual({ city: 'xxx' })
    const short = await client.chat({ model, messages: ask('x [[chunks:9]]'), options: { num_predict: 2 } })
    expect(short).toMatchObject({ done_reason: 'length', eval_count: 2 })
  })

  it('embeds and lists', async () => {
    const { embeddings } = await client.embed({ model, input: ['a lamp', 'the sea'] })
    expect(embeddings).toEqual([[...vectorOf('a lamp', 384)], [...vectorOf('the sea', 384)]])
    expect((await client.list()).models.map(({ name }) => name)).toEqual(['llama3.2:latest'])
  })

  it('is told of a model that is missing, and of a server that fails', async () => {
    await expect(client.chat({ model: 'missing', messages: ask('x') })).rejects.toMatchObject({
      status_code: 404,
      error: 'model "missing" not found, try pulling it first',
    })
    await expect(client.chat({ model, messages: ask('x [[fail:500]]') })).rejects.toMatchObject({ status_code: 500 })
    const read = async () => {
      const messages = ask('x [[error_event]] [[chunks:20]]')
      for await (const _ of await client.chat({ model, messages, stream: true }));
    }
    await expect(read()).rejects.toThrow('the model runner has stopped')
  })

  it('that leaves is billed for what was generated and no more', async () => {
    const messages = ask('x [[chunks:1000]] [[stall_stream:10]]')
    const stream = await client.chat({ model, messages, stream: true })
    let lines = 0
    const read = async () => {
      for await (const _ of stream) {
        lines += 1
        if (lines === 10) client.abort()
      }
    }
    await expect(read()).rejects.toThrow()
    await expect.poll(() => emulator.stats().clientsLeft).toBe(1)
    expect(emulator.stats()).toMatchObject({ inflight: 0, tokens: { completion: 10 } })
  })
})
