import * as fc from 'fast-check'
import { countTokens } from 'gpt-tokenizer/encoding/o200k_base'
import { describe, expect, test } from 'vitest'
import { bytesOf, mostTokensOf } from '../../../src/core/most-tokens.ts'
import { TOKEN_SAMPLES } from './token-samples.ts'

/** Scripts and signs of which the plain estimate has no samples. */
const RARE: Record<string, string> = {
  Amharic: 'የመብራት ቤቱ ብርሃን በሌሊት ከሩቅ ይታያል',
  Armenian: 'Փարոսի լույսը գիշերը տեսանելի է հեռվից',
  Bengali: 'বাতিঘরের আলো রাতে দূর থেকে দেখা যায়',
  Burmese: 'မီးပြတိုက်၏ အလင်းရောင်ကို ညအချိန်တွင် မြင်ရသည်',
  Cherokee: 'ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ',
  Georgian: 'შუქურის სინათლე ღამით შორიდან ჩანს',
  Hebrew: 'האור של המגדלור נראה למרחקים גדולים בלילה',
  Khmer: 'ពន្លឺនៃប៉មភ្លើងអាចមើលឃើញពីចម្ងាយ',
  Lao: 'ແສງໄຟຂອງປະພາຄານ',
  Tamil: 'கலங்கரை விளக்கத்தின் ஒளி இரவில் தொலைவில்',
  Tibetan: 'བོད་སྐད་ནི་བོད་མིའི་སྐད་ཡིག',
  Vietnamese: 'Ánh sáng của ngọn hải đăng có thể nhìn thấy từ xa vào ban đêm',
  cuneiform: '𒀀𒁀𒂀𒃀',
  emoji: '👨‍👩‍👧‍👦🏳️‍🌈🤷🏽‍♀️🫠🪿',
  phonetic: 'ˈlaɪthaʊs ʃʒθð',
  'letters of mathematics': '𝒜𝓁𝓅𝒽𝒶 ∑∫√≤≠',
}

describe('tokens at most', () => {
  test.each(Object.entries({ ...TOKEN_SAMPLES, ...RARE }))('of %s are no fewer than o200k counts', (_name, text) => {
    expect(mostTokensOf(text)).toBeGreaterThanOrEqual(countTokens(text))
  })

  test('count each digit, as some providers do', () => {
    expect(mostTokensOf('8273648172 6354 182736')).toBeGreaterThanOrEqual(20)
  })

  test('of a usual text are not much more than they are', () => {
    for (const text of Object.values(TOKEN_SAMPLES)) expect(mostTokensOf(text)).toBeLessThan(2 * countTokens(text))
  })

  test('are never more than bytes, which are counted as UTF-8 has them', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        expect(bytesOf(text)).toBe(new TextEncoder().encode(text).length)
        expect(mostTokensOf(text)).toBeLessThanOrEqual(bytesOf(text))
      }),
    )
  })
})
