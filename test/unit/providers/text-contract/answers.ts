import { describe, expect, it } from 'vitest'
import type { ChatInput } from '../../../../src/contract/chat.ts'
import type { Price } from '../../../../src/contract/price.ts'
import { callCostMicros } from '../../../../src/core/call-cost.ts'
import { namesOf, priceAt } from '../../../../src/core/price.ts'
import { refusalOf } from '../../../../src/job/text-judge.ts'
import { listedPrices } from '../../../../src/prices/list.ts'
import { problemWith, answers as reference } from '../../../emulators/openai/spec.ts'
import { inputOf } from '../text-call.ts'
import type { Bench } from '../text-contract-suite.ts'
import { type Asked, MODES } from './attempts.ts'

/** What is answered: words, reasons, usage and what it costs. */

const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='

const picture = (say: string): ChatInput => ({
  messages: [
    {
      role: 'user',
      content: [
        { type: 'text', text: `what is it? ${say}` },
        { type: 'image_url', image_url: { url: `data:image/png;base64,${PIXEL}` } },
      ],
    },
  ],
})

const CITY = {
  type: 'object',
  properties: { city: { type: 'string' }, at: { type: 'array', items: { type: 'number' } } },
  required: ['city', 'at'],
  additionalProperties: false,
}

export const textOf = ({ choices }: Asked, at = 0): string | null => choices[at]?.message.content ?? null

export const answersAsAsked = ({ subject, attempts, stand }: Bench): void => {
  const { provider, model, prompts } = subject
  const priceNow = (): Price => {
    const list = listedPrices(provider.id)
    const price = priceAt(list, namesOf(provider.id, model), Date.now()) ?? priceAt(list, ['*'], Date.now())
    if (!price) throw new Error(`${model} is listed nowhere`)
    return price
  }

  describe('answers', () => {
    it('the same in one piece and as a stream: words, reason, usage, tier and model', async () => {
      const input = inputOf('hello [[say:Grüße, 灯 🚢!]]')
      const [whole, stream] = [await attempts.ask('whole', input), await attempts.ask('stream', input)]
      for (const asked of [whole, stream]) {
        expect(asked.fault).toBeNull()
        expect(asked.choices).toMatchObject([{ message: { content: 'Grüße, 灯 🚢!' }, finish: 'stop' }])
        expect(asked.usage?.outputTokens).toBe(stand().billed().output)
      }
      expect(stream.usage).toEqual(whole.usage)
      expect([stream.serviceTier, stream.model]).toEqual([whole.serviceTier, whole.model])
      expect(whole.model).toBe(model)
    })

    it.each(MODES)('in the form of OpenAI’s reference, with the usage apart (%s)', async (mode) => {
      const { answers } = await attempts.ask(mode, inputOf('hello [[say:Grüße, 灯 🚢!]]'))
      expect(answers.length).toBeGreaterThan(0)
      for (const answer of answers) {
        expect(problemWith(mode === 'whole' ? reference.chat : reference.chunk, answer)).toBeUndefined()
        expect((answer as { usage?: unknown }).usage ?? null).toBeNull()
      }
    })

    it.each(MODES)('with the tokens of every kind that were billed, at the listed price (%s)', async (mode) => {
      const prompt = `hello to the whole of the sea [[chunks:12]] ${prompts.counted}`
      const { fault, usage, serviceTier } = await attempts.ask(mode, inputOf(prompt))
      expect(fault).toBeNull()
      const { prompt: input, cached, output, reasoning } = stand().billed()
      expect([cached, output, reasoning]).toEqual([5, 19, 7])
      expect(usage).toMatchObject({
        inputTokens: input,
        cachedInputTokens: cached,
        outputTokens: output,
        reasoningTokens: reasoning,
        estimated: false,
      })
      if (!usage) return
      const { rates } = priceNow()
      const { input_per_mtok: fresh = Number.NaN, output_per_mtok: made = Number.NaN } = rates
      // Micros: a million tokens cost so many dollars.
      const micros =
        (input - cached) * fresh +
        cached * (rates.cached_input_per_mtok ?? fresh) +
        (output - reasoning) * made +
        reasoning * (rates.reasoning_per_mtok ?? made)
      expect(callCostMicros(priceNow(), usage, serviceTier)).toBe(Math.round(Number(micros.toFixed(6))))
    })

    it.each(MODES)('without usage say so, and not that it is zero (%s)', async (mode) => {
      const asked = await attempts.ask(mode, inputOf('hello [[no_usage]] [[say:hi]]'))
      expect(asked.fault).toBeNull()
      expect([textOf(asked), asked.usage]).toEqual(['hi', null])
    })

    it.each(MODES.flatMap((mode) => (['system', 'developer'] as const).map((role) => [role, mode] as const)))(
      'to a %s’s words, which stand by themselves (%s)',
      async (role, mode) => {
        const messages: ChatInput['messages'] = [
          { role, content: 'You are a lighthouse.' },
          { role: 'user', content: 'hello [[say:blink]]' },
        ]
        const asked = await attempts.ask(mode, { messages })
        expect([asked.fault, textOf(asked)]).toEqual([null, 'blink'])
        expect(subject.wire.systemOf(asked.requests[0]?.body ?? {})).toBe('You are a lighthouse.')
      },
    )

    it.each(MODES)('in JSON by a schema (%s)', async (mode) => {
      const json_schema = { name: 'city', schema: CITY, strict: true }
      const asked = await attempts.ask(
        mode,
        inputOf('a city', { response_format: { type: 'json_schema', json_schema } }),
      )
      expect(asked.choices).toMatchObject([{ finish: 'stop' }])
      expect(JSON.parse(textOf(asked) ?? '')).toEqual({ city: expect.any(String), at: [expect.any(Number)] })
    })

    it.each(MODES)('to a picture, which the provider gets and bills (%s)', async (mode) => {
      const plain = await attempts.ask(mode, inputOf('what is it? [[say:a dot]]'))
      const seen = await attempts.ask(mode, picture('[[say:a dot]]'))
      expect([seen.fault, textOf(seen)]).toEqual([null, 'a dot'])
      expect(JSON.stringify(seen.requests[0]?.body)).toContain(PIXEL)
      expect(seen.usage?.inputTokens).toBe(stand().billed().prompt)
      expect(seen.usage?.inputTokens).toBeGreaterThan((plain.usage?.inputTokens ?? 0) + 50)
    })

    const { blindModel } = subject
    if (blindModel !== null)
      it('to no picture by a model that sees none', () => {
        const asked = { type: 'text.generate@1' as const, input: picture('') }
        expect(refusalOf(asked, `${provider.id}/${blindModel}`)).toMatchObject({
          param: expect.stringMatching(/^messages\.0/),
        })
        expect(refusalOf(asked, `${provider.id}/${model}`)).toBeNull()
      })

    it.each(MODES)('up to the limit that was set, and says that it was (%s)', async (mode) => {
      const asked = await attempts.ask(mode, inputOf('hello [[chunks:9]]', { max_completion_tokens: 3 }))
      expect(asked.choices).toMatchObject([{ finish: 'length' }])
      expect([asked.fault, asked.usage?.outputTokens, stand().billed().output]).toEqual([null, 3, 3])
    })

    const { filtered } = prompts
    if (filtered !== null)
      it.each(MODES)('that a filter ended, and were paid for (%s)', async (mode) => {
        const asked = await attempts.ask(mode, inputOf(`hello ${filtered}`))
        expect(asked.fault).toBeNull()
        expect(asked.choices[0]?.finish).toBe('content_filter')
        expect(asked.usage?.outputTokens).toBe(stand().billed().output)
      })

    it.each(MODES)('in as many choices as were asked for, or refuses to be asked (%s)', async (mode) => {
      const input = inputOf('hello [[say:one of two]]', { n: 2 })
      const refusal = refusalOf({ type: 'text.generate@1', input }, `${provider.id}/${model}`)
      if (!subject.takesN) return expect(refusal).toMatchObject({ param: 'n', message: expect.any(String) })
      expect(refusal).toBeNull()
      const asked = await attempts.ask(mode, input)
      expect(asked.choices.map(({ finish }) => finish)).toEqual(['stop', 'stop'])
      expect([textOf(asked, 0), textOf(asked, 1)]).toEqual(['one of two', 'one of two'])
      expect(asked.usage?.outputTokens).toBe(stand().billed().output)
    })

    it('in one choice where one is asked for', async () => {
      const input = inputOf('hello', { n: 1 })
      expect(refusalOf({ type: 'text.generate@1', input }, `${provider.id}/${model}`)).toBeNull()
      expect((await attempts.ask('whole', input)).choices).toHaveLength(1)
    })
  })
}
