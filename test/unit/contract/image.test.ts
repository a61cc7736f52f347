import { describe, test } from 'vitest'
import { ASPECT_RATIOS, ImageInput } from '../../../src/contract/image.ts'
import { LIMITS } from '../../../src/limits.ts'
import { expectAccepted, expectRefused, type RefusedRow, type Row, text } from './issues.ts'

const input = (more: object): object => ({ prompt: 'a lighthouse at dawn', ...more })
/** Options whose JSON text has this many bytes: `{"k":"…"}` is eight around the text. */
const options = (bytes: number, letter = 'x', letterBytes = 1): object => ({
  ideogram: { k: letter.repeat((bytes - 8) / letterBytes) },
})
const side = LIMITS.imageSideMax

const ACCEPTED: Row[] = [
  ['only a prompt', input({})],
  ['the longest prompt', input({ prompt: text(LIMITS.promptCharacters) })],
  ['a prompt in any script', input({ prompt: 'маяк на рассвете 🌅' })],
  ['the longest negative prompt', input({ negative_prompt: text(LIMITS.promptCharacters) })],
  ...ASPECT_RATIOS.map((ratio): Row => [`the ratio ${ratio}`, input({ aspect_ratio: ratio })]),
  ['a size', input({ size: '1024x768' })],
  ['the smallest size', input({ size: '10x10' })],
  ['the largest size', input({ size: `${side}x${side}` })],
  ['one picture', input({ count: 1 })],
  ['the most pictures', input({ count: LIMITS.imagesPerJob })],
  ['the lowest seed', input({ seed: 0 })],
  ['the highest seed', input({ seed: LIMITS.seedMax })],
  ['a format, a quality and a style', input({ format: 'webp', quality: 'draft', style: 'photo' })],
  ['a style of the longest name', input({ style: text(LIMITS.nameCharacters) })],
  ['options of several providers', input({ provider_options: { ideogram: { magic_prompt: 'off' }, openai: {} } })],
  ['options of any JSON', input({ provider_options: { ideogram: { a: [1, null, true, { b: 'c' }] } } })],
  ['the largest options', input({ provider_options: options(LIMITS.optionsBytes) })],
]

const REFUSED: RefusedRow[] = [
  ['no prompt', {}, 'prompt'],
  ['an empty prompt', { prompt: '' }, 'prompt'],
  ['a blank prompt', { prompt: ' \n\t ' }, 'prompt'],
  ['a prompt that is too long', { prompt: text(LIMITS.promptCharacters + 1) }, 'prompt'],
  ['a prompt that is a list', { prompt: ['a'] }, 'prompt'],
  ['an empty negative prompt', input({ negative_prompt: '' }), 'negative_prompt'],
  [
    'a negative prompt that is too long',
    input({ negative_prompt: text(LIMITS.promptCharacters + 1) }),
    'negative_prompt',
  ],
  ['an unknown ratio', input({ aspect_ratio: '7:5' }), 'aspect_ratio'],
  ['a size in words', input({ size: 'large' }), 'size'],
  ['a size of one number', input({ size: '1024' }), 'size'],
  ['a size with a zero in front', input({ size: '0100x0100' }), 'size'],
  ['a side below ten', input({ size: '9x100' }), 'size'],
  ['a width one above the largest', input({ size: `${side + 1}x100` }), 'size'],
  ['a height one above the largest', input({ size: `100x${side + 1}` }), 'size'],
  ['size and ratio together', input({ size: '100x100', aspect_ratio: '1:1' }), 'size'],
  ['no pictures', input({ count: 0 }), 'count'],
  ['too many pictures', input({ count: LIMITS.imagesPerJob + 1 }), 'count'],
  ['half a picture', input({ count: 1.5 }), 'count'],
  ['a negative seed', input({ seed: -1 }), 'seed'],
  ['a seed that is too high', input({ seed: LIMITS.seedMax + 1 }), 'seed'],
  ['an unknown format', input({ format: 'bmp' }), 'format'],
  ['an unknown quality', input({ quality: 'best' }), 'quality'],
  ['an empty style', input({ style: '' }), 'style'],
  ['a style whose name is too long', input({ style: text(LIMITS.nameCharacters + 1) }), 'style'],
  ['options that are text', input({ provider_options: 'x' }), 'provider_options'],
  ['options of a provider that are text', input({ provider_options: { ideogram: 'x' } }), 'provider_options.ideogram'],
  [
    'options that are too large',
    input({ provider_options: options(LIMITS.optionsBytes + 1) }),
    'provider_options.ideogram',
  ],
  [
    'options whose characters fit but whose bytes do not',
    input({ provider_options: options(LIMITS.optionsBytes + 2, 'é', 2) }),
    'provider_options.ideogram',
  ],
  [
    'options with a number that JSON has not',
    input({ provider_options: { ideogram: { n: Number.NaN } } }),
    'provider_options.ideogram.n',
  ],
  ['a field that is unknown', input({ promt: 'x' }), 'promt'],
]

describe('the input of an image job', () => {
  test.each(ACCEPTED)('is accepted: %s', (_name, value) => expectAccepted(ImageInput, value))
  test.each(REFUSED)('is refused at the field at fault: %s', (_name, value, path) =>
    expectRefused(ImageInput, value, path),
  )
})
