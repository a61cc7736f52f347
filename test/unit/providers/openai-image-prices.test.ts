import { describe, expect, it } from 'vitest'
import type { ImageInput } from '../../../src/contract/image.ts'
import { costMicros, estimateMicros } from '../../../src/core/cost.ts'
import { namesOf, priceAt } from '../../../src/core/price.ts'
import { listedPrices } from '../../../src/prices/list.ts'
import type { Http } from '../../../src/providers/http.ts'
import { openAi } from '../../../src/providers/openai-images.ts'
import type { Call } from '../../../src/providers/provider.ts'

const priceOf = (model: string) => {
  const price = priceAt(listedPrices('openai'), namesOf('openai', model), Date.parse('2026-11-21'))
  if (!price) throw new Error(`no price of ${model}`)
  return price
}
const estimate = (model: string, input: Partial<ImageInput>): number | null => {
  const expected = openAi.expects(model, { prompt: 'x', ...input })
  return expected && estimateMicros(priceOf(expected.price), expected.usage)
}

describe('pictures of OpenAI are judged by its estimates', () => {
  it.each<[string, Partial<ImageInput>, number | null]>([
    // 33800 and a letter of the prompt, 5
    ['gpt-image-1.5', { size: '1024x1024', quality: 'standard' }, 33_805],
    // Two of 12800
    ['gpt-image-1.5', { size: '1536x1024', quality: 'draft', count: 2 }, 25_605],
    // The dearest of what the provider may choose
    ['gpt-image-1.5', {}, 199_705],
    // 8400 and a letter of 2
    ['gpt-image-1-mini', { size: '1024x1024', quality: 'standard' }, 8_402],
    // Its wide sizes are not listed
    ['gpt-image-1-mini', {}, null],
    // Any size, so no list has an estimate
    ['gpt-image-2', { size: '1024x1024', quality: 'high' }, null],
  ])('%s, %j: %s', (model, input, micros) => {
    expect(estimate(model, input)).toBe(micros)
  })
})

describe('and billed by the tokens that the answer tells', () => {
  const call = (model: string): Call => ({
    ...{ job: 'job_01', attempt: 1, type: 'image.generate@1', model, input: { prompt: 'x' }, secret: 's' },
    ...{ baseUrl: 'https://api.example/v1', maxCostMicros: null, nowMs: 0 },
    costOf: (usage) => costMicros(priceOf(model), usage),
  })
  const billed = async (model: string, usage: object | undefined) => {
    const body = JSON.stringify({ data: [{ b64_json: 'AAAA' }], usage })
    const http: Http = { send: async () => ({ kind: 'answered', status: 200, headers: new Headers(), body }) }
    const done = await openAi.start(call(model), http)
    return done.kind === 'done' ? done.costMicros : done
  }

  it('pictures and words apart', async () => {
    const details = { input_tokens_details: { text_tokens: 50 }, output_tokens_details: { image_tokens: 1056 } }
    // 50×5 + 1056×32 + 44×10
    expect(await billed('gpt-image-1.5', { input_tokens: 50, output_tokens: 1100, ...details })).toBe(34_482)
  })

  it('all as pictures, where they are not told apart', async () => {
    // 50×5 + 1100×32
    expect(await billed('gpt-image-1.5', { input_tokens: 50, output_tokens: 1100 })).toBe(35_450)
  })

  it('and not at all where it tells none', async () => {
    expect(await billed('gpt-image-1.5', undefined)).toBeNull()
  })
})
