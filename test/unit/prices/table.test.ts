import { readFileSync } from 'node:fs'
import { calcPrice } from '@pydantic/genai-prices'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { makeListing } from '../../../src/cli/price-table.ts'
import { makeTable, openLibrary } from '../../../src/cli/prices.ts'
import { Price, type Quantities } from '../../../src/contract/price.ts'
import { costMicros } from '../../../src/core/cost.ts'
import { isInForce } from '../../../src/core/price.ts'
import { listedProviders, readTable } from '../../../src/prices/list.ts'

const rows = listedProviders().flatMap((provider) => readTable(provider))
const prices = rows.map(({ price }) => price)
const THEIR_NAME: Record<string, string> = { 'workers-ai': 'cloudflare' }
const DAYS = ['2025-01-01', '2026-03-12', '2026-03-13', '2026-07-30', '2026-08-20', '2026-11-21', '2027-01-01']

test('Making the table anew changes nothing', () => {
  expect(readFileSync('src/prices/table.ts', 'utf8')).toBe(makeTable())
})

test('Every row is a price, and one model has one price at a time', () => {
  for (const { price, aliases = [] } of rows) {
    v.parse(Price, price)
    expect(Object.keys(price.rates).length + price.images.length).toBeGreaterThan(0)
    expect(price.source.length).toBeGreaterThan(3)
    expect(aliases).not.toContain(price.model)
  }
  for (const price of prices) {
    for (const day of DAYS) {
      const same = prices.filter(
        (other) =>
          other.provider === price.provider && other.model === price.model && isInForce(other, Date.parse(day)),
      )
      expect(same.length).toBe(1)
    }
  }
})

test('An alias leads to one model only', () => {
  for (const provider of listedProviders()) {
    const owners = new Map<string, Set<string>>()
    for (const { price, aliases = [] } of readTable(provider)) {
      for (const alias of aliases) owners.set(alias, (owners.get(alias) ?? new Set()).add(price.model))
    }
    for (const [alias, models] of owners) expect([alias, [...models]]).toEqual([alias, [...models].slice(0, 1)])
  }
})

type FileEntry = { provider: string; model: string; verified: boolean; note?: string; unit?: string }
const file = JSON.parse(readFileSync('src/prices/prices.json', 'utf8')) as { models: FileEntry[] }

test('Every priced model of the file is in the table, and what the file calls unverified is so there', () => {
  for (const { provider, model, verified, note, unit } of file.models) {
    const name = model.replace(' (resold)', '')
    const found = prices.filter((price) => price.provider === provider && price.model === name)
    if (/price not found/.test(note ?? '')) expect(found).toEqual([])
    else expect(found.length).toBeGreaterThan(0)
    const confirmed = verified && !unit?.includes('unverified')
    for (const price of found) expect([name, price.verified]).toEqual([name, confirmed])
  }
})

describe('the library and the table agree', () => {
  const covered = rows.filter(({ price }) => price.source.startsWith('@pydantic/genai-prices'))

  /** Our word, the library's, and the share of all tokens of that direction. Kinds without a rate are not used. */
  const INPUT = [
    ['cached_input_tokens', 'cache_read_tokens', 'cached_input_per_mtok', 4],
    ['cache_write_5m_tokens', 'cache_write_tokens', 'cache_write_per_mtok', 5],
    ['cache_write_1h_tokens', 'cache_write_1h_tokens', 'cache_write_1h_per_mtok', 7],
    ['input_image_tokens', 'input_image_tokens', 'input_image_per_mtok', 11],
    ['input_audio_tokens', 'input_audio_tokens', 'input_audio_per_mtok', 13],
    ['cached_input_image_tokens', 'cache_image_read_tokens', 'cached_input_image_per_mtok', 17],
    ['cached_input_audio_tokens', 'cache_audio_read_tokens', 'cached_input_audio_per_mtok', 19],
  ] as const
  const OUTPUT = [
    ['output_image_tokens', 'output_image_tokens', 'output_image_per_mtok', 2],
    ['output_audio_tokens', 'output_audio_tokens', 'output_audio_per_mtok', 3],
  ] as const

  /** A use of every kind that the price has a rate for, below, at and above its tiers. */
  const usages = ({ rates, tiers }: Price): { ours: Quantities; theirs: Record<string, number> }[] =>
    [1, 7, 1_000, 99_999, ...tiers.flatMap(({ above_input_tokens: above }) => [above, above + 1])].map((size) => {
      const ours: Record<string, number> = {}
      const theirs: Record<string, number> = {}
      const use = (our: string, their: string, count: number) => {
        ours[our] = count
        theirs[their] = count
      }
      if (rates.input_per_mtok !== undefined) use('input_tokens', 'input_tokens', size)
      if (rates.output_per_mtok !== undefined) use('output_tokens', 'output_tokens', size)
      for (const [our, their, rate, part] of [...INPUT, ...OUTPUT]) {
        if (rates[rate] !== undefined) use(our, their, Math.floor(size / part))
      }
      // The library counts writes of both lengths in one, and has no image made without a rate for it.
      theirs.cache_write_tokens = (ours.cache_write_5m_tokens ?? 0) + (ours.cache_write_1h_tokens ?? 0)
      if (rates.per_web_search_usd !== undefined) use('web_searches', 'web_searches', 3)
      if (rates.per_second_usd !== undefined) {
        use('seconds', 'input_audio_seconds', size / 8)
        theirs.audio_seconds = size / 8
      }
      return { ours, theirs }
    })

  test.each([...new Set(covered.map(({ price }) => `${price.provider} ${price.model}`))])('about %s', (name) => {
    const [provider = '', model = ''] = name.split(' ')
    let compared = 0
    for (const { price } of covered.filter(({ price: one }) => `${one.provider} ${one.model}` === name)) {
      for (const day of DAYS.filter((one) => isInForce(price, Date.parse(one)))) {
        for (const { ours, theirs } of usages(price)) {
          const options = { providerId: THEIR_NAME[provider] ?? provider, timestamp: new Date(day) }
          const micros = (calcPrice(theirs, model, options)?.total_price ?? Number.NaN) * 1e6
          // Theirs is a sum of binary fractions, ours is exact and rounded to the whole.
          expect(Math.abs((costMicros(price, ours) ?? Number.NaN) - micros)).toBeLessThan(0.501)
          compared += 1
        }
      }
    }
    expect(compared).toBeGreaterThan(0)
  })

  test('in more than two hundred prices', () => {
    expect(covered.length).toBeGreaterThan(200)
  })
})

describe('where both know a model', () => {
  const library = { ...openLibrary(), version: '9.9.9' }
  const listing = (entry: object) =>
    makeListing(
      JSON.stringify({
        as_of: '2026-11-20',
        models: [{ provider: 'openai', model: 'gpt-5', kind: 'chat', currency: 'USD', verified: true, ...entry }],
      }),
      library,
    ).listed.filter(({ price }) => price.model === 'gpt-5')

  test('what the file has from an older library gives way to the library', () => {
    const [found] = listing({ input_per_mtok: 99, source: 'genai-prices@0.0.1 (npm)' })
    expect([found?.price.rates.input_per_mtok, found?.price.source]).toEqual([1.25, '@pydantic/genai-prices 9.9.9'])
  })

  test('what was looked up by hand stays', () => {
    const [found, ...others] = listing({ input_per_mtok: 99, source: 'the price page of 2026-11-19' })
    expect([found?.price.rates, found?.price.source]).toEqual([{ input_per_mtok: 99 }, 'the price page of 2026-11-19'])
    expect(others).toEqual([])
  })

  test('a unit of the library that is not understood stops the making', () => {
    const strange = { id: 'x', match: { equals: 'x' }, prices: { input_mtok: 1, dreams_kcount: 5 } }
    const make = () => makeListing('{"as_of":"2026-11-20","models":[]}', { ...library, models: { openai: [strange] } })
    expect(make).toThrow(/dreams_kcount/)
  })
})
