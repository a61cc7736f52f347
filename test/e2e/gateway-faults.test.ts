import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { AnthropicEmulator } from '../emulators/anthropic.ts'
import type { OpenAiEmulator } from '../emulators/openai.ts'
import { ask, CHAT, CLAUDE, type Line, ledgerAtRest, startAnthropicHere, startLine, startOpenAiHere } from './line.ts'
import { type Heard, hear } from './line-client.ts'

/** Streams that break at some byte, in both dialects: what was heard is a beginning of the answer, and its end is honest. */

let openai: OpenAiEmulator
let anthropic: AnthropicEmulator
let line: Line

beforeAll(async () => {
  openai = await startOpenAiHere()
  anthropic = await startAnthropicHere()
  line = await startLine({ openai, anthropic })
})
afterAll(async () => {
  const ledger = await ledgerAtRest(line)
  expect([ledger.held_usd, ledger.difference_usd]).toEqual([0, 0])
  expect([openai.stats().inflight, anthropic.stats().inflight]).toEqual([0, 0])
})

/** Many failures in a row would open the provider's breaker. */
afterEach(async () => {
  for (const model of [CHAT, CLAUDE]) expect((await chat(model, '')).done).toBe(true)
})

const SAID = 'Grüße, 灯 🚢! And a little more, so that there is a middle.'
const chat = (model: string, directives: string, more: Record<string, unknown> = {}): Promise<Heard> =>
  hear(`${line.url}/chat/completions`, line.key, {
    model,
    messages: ask(`tell me [[say:${SAID}]] ${directives}`),
    stream: true,
    stream_options: { include_usage: true },
    fallback: false,
    ...more,
  })

/** Whole and told so, or a beginning and told so; nothing between. */
const isHonest = (heard: Heard): boolean => {
  if (heard.end !== 'whole' || heard.status === null) return false
  if (heard.status !== 200) return heard.text === '' && heard.error !== null && !heard.done
  if (heard.error === null) return heard.done && heard.text === SAID && (heard.usage?.cost_usd ?? 0) > 0
  return !heard.done && SAID.startsWith(heard.text)
}

/** Bytes at which the answer is cut: before the first event, inside characters and lines, near the end of the shorter one. */
const OFFSETS = [0, 1, 150, 333, 512, 777, 1_024, 1_337, 1_800, 2_345]

describe.each([CHAT, CLAUDE])('a stream of %s', (model) => {
  test.each(OFFSETS)('that breaks at byte %i is told so', async (at) => {
    const heard = await chat(model, `[[cut:${at}]]`)
    expect(heard, JSON.stringify(heard)).toSatisfy(isHonest)
    expect(heard.done).toBe(false)
  })

  test.each(['split:1', 'split:3 crlf', 'comments', 'crlf comments'])('written as %s comes whole', async (manner) => {
    const heard = await chat(model, manner.replace(/\S+/g, '[[$&]]'))
    expect(heard, JSON.stringify(heard)).toSatisfy(isHonest)
    expect(heard.done).toBe(true)
  })

  test.each([
    ['error_event:overloaded_error:6', 'provider_unavailable'],
    ['malformed:6', 'provider_protocol_error'],
    ['stall_stream:8', 'deadline_exceeded'],
  ])('with %s in its middle ends as %s', async (fault, code) => {
    const heard = await chat(model, `[[${fault}]]`, { deadline_s: 2 })
    expect(heard, JSON.stringify(heard)).toSatisfy(isHonest)
    expect([heard.status, heard.error?.code]).toEqual([200, code])
    expect(heard.text.length).toBeGreaterThan(0)
  })
})
