import { LIMITS } from '../../../src/limits.ts'
import { BASE, type Fields, type Hostile, image, short } from './hostile.ts'

/** Bodies that are strange as text: not JSON, not UTF-8, too deep, twice the same, names that every object has. */

const ideogram = (options: unknown): Fields => image({ provider_options: { ideogram: options } })
export const good = JSON.stringify(image())
const deep = (depth: number) => `{"type":"image.generate","input":${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}}`
const number = (field: string, text: string) => `${good.slice(0, -1)},"${field}":${text}}`
const inInput = (text: string) => `{"type":"image.generate","input":{"prompt":"x",${text}}}`
const bytes = (...parts: (string | number[])[]) =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === 'string' ? [...new TextEncoder().encode(part)] : part)))

const BODIES: Record<string, BodyInit> = {
  empty: '',
  spaces: '   ',
  null: 'null',
  'a number': '1',
  text: '"x"',
  'a list': `[${good}]`,
  'NaN as a value': number('priority', 'NaN'),
  Infinity: number('priority', 'Infinity'),
  '1e400': number('priority', '1e400'),
  '-1e400': number('max_cost_usd', '-1e400'),
  '1e400 as money': number('max_cost_usd', '1e400'),
  '1e400 as a seed': inInput('"seed":1e400'),
  '1e400 in options': inInput('"provider_options":{"ideogram":{"seed":1e400}}'),
  'a big integer': number('priority', '123456789012345678901234567890'),
  'a big seed': inInput('"seed":99999999999999999999'),
  'a hexadecimal number': number('priority', '0x5'),
  'a leading zero': number('priority', '05'),
  'minus nothing': number('priority', '-'),
  'a trailing comma': `${good.slice(0, -1)},}`,
  'a comment': `${good.slice(0, -1)}/* x */,"priority":"x"}`,
  'single quotes': "{'type':'image.generate'}",
  'a second document': `${good}${good}`,
  'text behind': `${good}x`,
  'cut off': good.slice(0, -3),
  'a raw line feed in text': good.replace('MARKER', 'MAR\nKER'),
  'a raw NUL in text': good.replace('MARKER', 'MAR\u0000KER'),
  'a NUL before': `\u0000${good}`,
  'UTF-16': bytes([0xff, 0xfe, 0x7b, 0x00, 0x7d, 0x00]),
  'a byte that is never UTF-8': bytes(good.slice(0, 40), [0xff], good.slice(40)),
  'an overlong slash': bytes(good.slice(0, 40), [0xc0, 0xaf], good.slice(40)),
  'an encoded surrogate': bytes(good.slice(0, 40), [0xed, 0xa0, 0x80], good.slice(40)),
  'a character cut off': bytes(good, [0xe2, 0x82]),
  'beyond Unicode': bytes(good.slice(0, 40), [0xf5, 0x80, 0x80, 0x80], good.slice(40)),
  'depth 33': deep(40),
  'depth 10000': deep(10_000),
  'lists 100000 deep': '['.repeat(100_000),
  'brackets that close first': ']'.repeat(1000),
  'unknown fields by the thousand': `{${Array.from({ length: 9_000 }, (_, i) => `"f${i}":0`).join()}}`,
  'a field name of 100 kB': `{"${'f'.repeat(100_000)}":1}`,
  'larger than allowed': 'x'.repeat(LIMITS.bodyBytes + 1),
  'a field twice, the last wrong': `${good.slice(0, -1)},"type":7}`,
  'input twice, the last wrong': `${good.slice(0, -1)},"input":{"prompt":""}}`,
  '__proto__ beside the rest': `{"__proto__":{"type":"image.generate","input":{"prompt":"x"}}}`,
  '__proto__ as a field': number('__proto__', '{"isAdmin":true}'),
  '__proto__ as text': number('__proto__', '"x"'),
  'constructor as a field': number('constructor', '{"prototype":{"isAdmin":true}}'),
  'toString as a field': number('toString', '"x"'),
  'hasOwnProperty as a field': number('hasOwnProperty', '1'),
  'constructor in the input': inInput('"constructor":1'),
  '__proto__ in the input': inInput('"__proto__":{"count":4}'),
  'a lone surrogate as type': number('type', '"\\ud800"'),
  'a lone surrogate as project': number('project', '"\\udfff"'),
  'a lone surrogate as a size': inInput('"size":"\\ud83d"'),
}
export const strangeBodies: Hostile[] = [
  ...Object.entries(BODIES).map(([name, raw]) => ({
    name: `a body: ${name}`,
    method: 'POST',
    path: `${BASE}/jobs`,
    options: { raw },
  })),
  ...[{ mode: 'later' }, { api: 'v3' }, { prompt: 'x' }, { url: 'https://evil.example' }, { async: false }].map(
    (options) => ({
      name: `options ${JSON.stringify(options)}`,
      method: 'POST',
      path: `${BASE}/jobs`,
      options: { json: ideogram(options) },
    }),
  ),
  ...[
    'application/json\u00e9',
    'json',
    'application/json/x',
    'text/json',
    'application/xml',
    '*/*',
    `application/${'x+'.repeat(3000)}y`,
  ].map((type) => ({
    name: `content type ${short(type)}`,
    method: 'POST',
    path: `${BASE}/jobs`,
    options: { raw: good, headers: { 'content-type': type } },
  })),
]

/** Fields whose names an object has by birth, where any name is allowed: what cannot be kept must not be dropped in silence. */
export const bornNames: Hostile[] = [
  ['metadata', number('metadata', '{"__proto__":"x"}')],
  ['the options', inInput('"provider_options":{"ideogram":{"__proto__":{"mode":"sync"}}}')],
  ['the options', inInput('"provider_options":{"ideogram":{"constructor":1}}')],
].map(([place = '', raw = '']) => ({
  name: `${place}: ${raw.slice(-40)}`,
  method: 'POST',
  path: `${BASE}/jobs`,
  options: { raw },
}))

/** A list where an object belongs. */
export const listsAsObjects: Hostile[] = [
  ['POST', '/jobs', image({ provider_options: [] })],
  ['POST', '/jobs', ideogram([])],
  ['POST', '/jobs', { ...image(), metadata: [] }],
  ['POST', '/jobs', { ...image(), metadata: ['x'] }],
  ['PUT', '/providers/ideogram', []],
  ['PUT', '/providers/ideogram', { limits: [] }],
  ['PATCH', '/providers/ideogram/credentials/main', []],
  ['PATCH', '', { config: [] }],
  ['PATCH', '', { config: { default_models: [] } }],
].map(([method, path, json]) => ({
  name: `${method} ${path} ${short(json)}`,
  method: String(method),
  path: BASE + path,
  options: { json },
}))
