import { describe, expect, it } from 'vitest'
import type { ChatInput } from '../../../../src/contract/chat.ts'
import { inputOf } from '../text-call.ts'
import type { Bench } from '../text-contract-suite.ts'
import { textOf } from './answers.ts'
import { type Asked, MODES } from './attempts.ts'

/** Calls of tools and their results, there and back. */

const tool = (name: string, field: string) => ({
  type: 'function' as const,
  function: {
    name,
    description: `of a ${field}`,
    parameters: {
      type: 'object',
      properties: { [field]: { type: 'string' } },
      required: [field],
      additionalProperties: false,
    },
  },
})

const TOOLS = [tool('get_weather', 'city'), tool('get_time', 'zone')]

const callsIn = ({ choices }: Asked) => choices[0]?.message.tool_calls ?? []

/** The message goes back as it came, with a result for each of its calls. */
const withResults = (input: ChatInput, asked: Asked, results: string[]): ChatInput => ({
  ...input,
  messages: [
    ...input.messages,
    asked.choices[0]?.message as never,
    ...callsIn(asked).map(({ id }, at) => ({
      role: 'tool' as const,
      tool_call_id: id,
      content: results[at] ?? '',
    })),
  ],
})

export const usesTools = ({ attempts, stand }: Bench): void => {
  describe('calls', () => {
    it.each(MODES)('a tool, and takes its result (%s)', async (mode) => {
      const input = inputOf('weather? [[call:get_weather:{"city":"Tromsø"}]]', { tools: TOOLS })
      const asked = await attempts.ask(mode, input)
      expect(asked.fault).toBeNull()
      expect(asked.choices[0]?.finish).toBe('tool_calls')
      expect(callsIn(asked).map((call) => call.function)).toEqual([
        { name: 'get_weather', arguments: '{"city":"Tromsø"}' },
      ])
      expect(callsIn(asked)[0]?.id).not.toBe('')
      expect(asked.usage?.outputTokens).toBe(stand().billed().output)
      const next = await attempts.ask(mode, withResults(input, asked, ['it rains']))
      expect(next.fault).toBeNull()
      expect(next.choices[0]?.finish).toBe('stop')
      expect(textOf(next)).toContain('it rains')
    })

    it.each(MODES)('two tools at once, each with its own result (%s)', async (mode) => {
      const calls = '[[call:get_weather:{"city":"Rome"};get_time:{"zone":"CET"}]]'
      const input = inputOf(`weather and time? ${calls}`, { tools: TOOLS })
      const asked = await attempts.ask(mode, input)
      expect(asked.choices[0]?.finish).toBe('tool_calls')
      expect(callsIn(asked).map((call) => call.function)).toEqual([
        { name: 'get_weather', arguments: '{"city":"Rome"}' },
        { name: 'get_time', arguments: '{"zone":"CET"}' },
      ])
      expect(new Set(callsIn(asked).map(({ id }) => id)).size).toBe(2)
      const next = await attempts.ask(mode, withResults(input, asked, ['it rains', 'it is noon']))
      expect([next.fault, next.choices[0]?.finish]).toEqual([null, 'stop'])
      expect(textOf(next)).toContain('it is noon')
      const sent = JSON.stringify(next.requests[0]?.body)
      expect(sent.indexOf('it rains')).toBeGreaterThan(0)
      expect(sent.indexOf('it rains')).toBeLessThan(sent.indexOf('it is noon'))
    })

    it('the same in one piece and as a stream', async () => {
      const input = inputOf('time? [[call:get_time:{"zone":"CET"}]]', { tools: TOOLS })
      const [whole, stream] = [await attempts.ask('whole', input), await attempts.ask('stream', input)]
      expect(callsIn(stream).map((call) => call.function)).toEqual(callsIn(whole).map((call) => call.function))
      expect(stream.usage).toEqual(whole.usage)
    })
  })
}
