import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ChatInput } from '../../../src/contract/chat.ts'
import { embedOutputBytes, expectedOfChat, expectedOfEmbed, promptTokensOf } from '../../../src/core/expected.ts'
import { tokensOf } from '../../../src/core/tokens.ts'
import { LIMITS } from '../../../src/limits.ts'

const TEXT = 'Tell me of the sea.'
const chat = (more: Partial<ChatInput> = {}): ChatInput => ({ messages: [{ role: 'user', content: TEXT }], ...more })
const outputOf = (input: ChatInput, most: number | null = null) => expectedOfChat(input, 1, most).outputTokens

describe('the prompt of a chat', () => {
  test('is its text and a little more', () => {
    const tokens = promptTokensOf(chat())
    expect(tokens).toBeGreaterThan(tokensOf(TEXT))
    expect(tokens).toBeLessThan(tokensOf(TEXT) + 10)
  })

  test.each<[string, Partial<ChatInput>, number]>([
    ['a picture', { messages: [{ role: 'user', content: picture('high') }] }, LIMITS.imageTokens],
    ['one in low detail', { messages: [{ role: 'user', content: picture('low') }] }, LIMITS.imageTokensLow],
    [
      'what a tool was called with',
      {
        messages: [
          {
            role: 'assistant',
            tool_calls: [{ id: 'c', type: 'function', function: { name: 'look', arguments: '{"at":"the sea"}' } }],
          },
        ],
      },
      tokensOf('{"at":"the sea"}'),
    ],
    ['a tool', { tools: [{ type: 'function', function: { name: 'look', description: TEXT } }] }, tokensOf(TEXT)],
    [
      'a schema',
      { response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'object' } } } },
      tokensOf('{"type":"object"}'),
    ],
  ])('counts %s', (_what, more, least) => {
    const without = promptTokensOf({ messages: [{ role: 'user', content: '' }] })
    const base = more.messages ? without - 4 : promptTokensOf(chat())
    expect(promptTokensOf(chat(more)) - base).toBeGreaterThanOrEqual(least)
  })
})

describe('the answer of a chat', () => {
  test.each<[string, Partial<ChatInput>, number | null, number]>([
    ['is its limit', { max_completion_tokens: 50 }, 128_000, 50],
    ['is its limit by the older name', { max_tokens: 60 }, null, 60],
    ['is its limit for each choice', { max_tokens: 60, n: 3 }, null, 180],
    ['without a limit is what is usual', {}, null, LIMITS.outputTokensExpected],
    ['without a limit is what the model makes at most', {}, 100, 100],
  ])('%s', (_what, more, most, expected) => expect(outputOf(chat(more), most)).toBe(expected))
})

describe('embeddings', () => {
  test('count all their inputs, texts or tokens', () => {
    expect(expectedOfEmbed({ input: TEXT })).toEqual({ inputTokens: tokensOf(TEXT), outputTokens: 0 })
    expect(expectedOfEmbed({ input: [TEXT, TEXT] }).inputTokens).toBe(2 * tokensOf(TEXT))
    expect(expectedOfEmbed({ input: [1, 2, 3] }).inputTokens).toBe(3)
    expect(expectedOfEmbed({ input: [[1, 2], [3]] }).inputTokens).toBe(3)
  })
})

function picture(detail: 'high' | 'low') {
  return [{ type: 'image_url' as const, image_url: { url: 'https://example.com/a.png', detail } }]
}

test('embeddings of a job come to no more bytes than was reckoned, and not much less', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 400 }), (inputs, dimensions) => {
      const embedding = Buffer.alloc(dimensions * 4).toString('base64')
      const data = Array.from({ length: inputs }, (_, index) => ({ object: 'embedding', index, embedding }))
      const output = { object: 'list', encoding_format: 'base64', data, model: 'm'.repeat(128) }
      const reckoned = embedOutputBytes({ input: Array(inputs).fill('a') }, dimensions)
      const bytes = JSON.stringify(output).length
      expect(bytes).toBeLessThanOrEqual(reckoned)
      expect(reckoned - bytes).toBeLessThan(256 + inputs * 8)
    }),
  )
})
