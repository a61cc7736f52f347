import { describe, expect, it } from 'vitest'
import { callCostMicros } from '../../../../src/core/call-cost.ts'
import { namesOf, priceAt } from '../../../../src/core/price.ts'
import { refusalOf } from '../../../../src/job/text-judge.ts'
import { listedPrices } from '../../../../src/prices/list.ts'
import { vectorOf } from '../../../emulators/openai/embeddings.ts'
import type { Bench } from '../text-contract-suite.ts'
import { bought, expectFault, refusalsOf, SPOILT_WHOLE } from './faults.ts'

/** Vectors, where the provider makes them: in their order, in the numbers that were sent, and paid for. */

const PRIVATE = 'the private plan of the north sea'

export const embedsTexts = ({ subject, attempts, stand }: Bench): void => {
  const { provider, embeds, prompts } = subject
  const refused = (input: object) =>
    refusalOf({ type: 'text.embed@1', input: input as never }, `${provider.id}/${embeds?.model ?? 'any'}`)
  if (embeds === null) {
    it('embeds nothing, and says so', () => {
      expect(refused({ input: 'a' })).toMatchObject({ param: 'models' })
    })
    return
  }
  const { model, dimensions, base64, shortens, takesTokens, tellsUsage } = embeds

  describe('embeds', () => {
    const expected = ['the sea', 'Grüße 🚢', 'a harbour'].map((text) => [...vectorOf(text, dimensions)])
    const input = ['the sea', 'Grüße 🚢', 'a harbour']

    it('texts in their order, with the tokens that were billed, at the listed price', async () => {
      const [{ outcome, requests }, accepted] = await bought(stand(), () => attempts.embed({ input }))
      if (outcome.kind !== 'completed') throw new Error(outcome.message)
      expect(accepted).toBe(1)
      expect(outcome.vectors.map((vector) => [...vector])).toEqual(expected)
      expect(outcome.model).toBe(model)
      expect(requests[0]?.body['encoding_format']).toBe(base64 ? 'base64' : undefined)
      const { prompt } = stand().billed()
      expect(outcome.usage?.inputTokens ?? null).toBe(tellsUsage ? prompt : null)
      if (!outcome.usage) return
      const list = listedPrices(provider.id)
      const price = priceAt(list, namesOf(provider.id, model), Date.now()) ?? priceAt(list, ['*'], Date.now())
      const micros = prompt * (price?.rates.input_per_mtok ?? Number.NaN)
      expect(callCostMicros(price, outcome.usage, null)).toBe(Math.round(Number(micros.toFixed(6))))
    })

    it('one text that is given without a list', async () => {
      const { outcome } = await attempts.embed({ input: 'the sea' })
      expect(outcome.kind === 'completed' && outcome.vectors.map((vector) => [...vector])).toEqual([expected[0]])
    })

    if (base64)
      it('to the same vectors by a server that writes numbers and knows no base64', async () => {
        const rewrite = ({ encoding_format: _, ...body }: Record<string, unknown>) => body
        const { outcome } = await attempts.embed({ input }, { rewrite })
        expect(outcome.kind === 'completed' && outcome.vectors.map((vector) => [...vector])).toEqual(expected)
      })

    it('into vectors of the length asked for, or refuses to be asked', async () => {
      if (!shortens) return expect(refused({ input, dimensions: 64 })).toMatchObject({ param: 'dimensions' })
      expect(refused({ input, dimensions: 64 })).toBeNull()
      const { outcome } = await attempts.embed({ input, dimensions: 64 })
      if (outcome.kind !== 'completed') throw new Error(outcome.message)
      for (const vector of outcome.vectors) {
        expect(vector).toHaveLength(64)
        expect(vector.reduce((sum, value) => sum + value * value, 0)).toBeCloseTo(1, 3)
      }
    })

    it('token ids, or refuses to be asked', async () => {
      const ids = [[1, 2, 3], [4]]
      if (!takesTokens) return expect(refused({ input: ids })).toMatchObject({ param: 'input' })
      expect(refused({ input: ids })).toBeNull()
      const { outcome } = await attempts.embed({ input: ids })
      expect(outcome.kind === 'completed' && outcome.vectors).toHaveLength(2)
      expect(outcome.kind === 'completed' && outcome.usage?.inputTokens).toBe(4)
    })

    it('no more texts at once than its card says', () => {
      const card = provider.embedModels.find((known) => known.model === model) ?? provider.unlisted?.embed(model)
      const many = (count: number) => ({ input: Array.from({ length: count }, () => 'a') })
      expect(refused(many(card?.inputsMax ?? 0))).toBeNull()
      expect(refused(many((card?.inputsMax ?? 0) + 1))).toMatchObject({ param: 'input' })
    })

    if (tellsUsage)
      it('without usage, and does not say that it is zero', async () => {
        const { outcome } = await attempts.embed({ input: ['the sea [[no_usage]]'] })
        expect(outcome).toMatchObject({ kind: 'completed', usage: null })
      })

    it.each(refusalsOf(prompts))('nothing where it is refused: %s', async (_what, prompt, code, told, more) => {
      const ask = () => attempts.embed({ input: [`${PRIVATE} ${prompt}`] })
      const [{ outcome, sent }, accepted] = await bought(stand(), ask)
      expectFault(outcome.kind === 'fault' ? outcome : null, [code, told, more], stand())
      expect([sent, accepted]).toEqual([true, 0])
    })

    it.each(SPOILT_WHOLE)('nothing where the answer is of no use: %s', async (_what, prompt, code, told, more) => {
      const timeoutMs = /^\[\[stall/.test(prompt) ? 200 : 20_000
      const ask = () => attempts.embed({ input: [`${PRIVATE} ${prompt}`] }, { timeoutMs })
      const [{ outcome, sent }, accepted] = await bought(stand(), ask)
      expectFault(outcome.kind === 'fault' ? outcome : null, [code, told, more], stand())
      expect([sent, accepted]).toEqual([true, 1])
    })

    it('no longer than its caller waits', async () => {
      const before = stand().stats()
      const abort = new AbortController()
      const embedding = attempts.embed({ input: ['the sea [[stall]]'] }, { signal: abort.signal })
      await expect.poll(() => stand().stats().accepted, { interval: 2 }).toBe(before.accepted + 1)
      abort.abort()
      expect((await embedding).outcome).toMatchObject({ kind: 'fault', code: 'canceled' })
      await expect.poll(() => stand().stats().left, { interval: 2 }).toBe(before.left + 1)
    })
  })
}
