import { BASE, type Fields, type Hostile, image, MARKER, short } from './hostile.ts'

/** Wrong values for every field of every request. */

const HUGE = 'x'.repeat(100_000)
const notText = [0, true, [], {}, HUGE]
const notName = [...notText, '', ' ', 'a b', '../up', 'a\u0000', 'a\n', '-a', 'é', '\ud800', '<b>', 'x'.repeat(65)]
const notWhole = ['1', 1.5, -1, 1e21, true, [], {}, 2 ** 53]
const notAmount = ['1', -1, -0.01, 0.0000001, 1e9, true, [], {}]
const notFlag = ['true', 0, 1, [], {}]
const notList = ['x', 0, true, {}, []]
const notObject = ['x', 0, true]
const notRate = ['1', -1, 1e9, true, [], {}, null]
const TIER = { above_input_tokens: 1, rates: { input_per_mtok: 1 } }
const notTime = [0, true, {}, '', 'tomorrow', '2026-13-01T00:00:00Z', '2026-01-01', '0', 'x'.repeat(1000)]

/** Per request: one that would be good, and values that are wrong for each of its fields. */
const REQUESTS: { method: string; path: string; good: Fields; wrong: Record<string, unknown[]> }[] = [
  {
    method: 'POST',
    path: `${BASE}/jobs`,
    good: image(),
    wrong: {
      type: [...notText, null, '', 'image', 'image.generate@2', 'IMAGE.GENERATE', 'image.generate\u0000', '__proto__'],
      input: [...notObject, null, {}],
      'input.prompt': [...notText, null, '', ' \n\t'],
      'input.negative_prompt': [...notText, null, ''],
      'input.aspect_ratio': [...notText, null, '', '16:10:1', '0:0', '16x9'],
      'input.size': [
        ...notText,
        null,
        '',
        '0x0',
        '1x1',
        '1e3x1e3',
        '-1x10',
        '99999x99999',
        '1024x1024x1024',
        '١٠٢٤x١٠٢٤',
      ],
      'input.count': [...notWhole, null, 0, 9, -0],
      'input.seed': [...notWhole, null, 2 ** 31],
      'input.format': [...notText, null, 'gif', 'PNG', 'png\u0000'],
      'input.quality': [...notText, null, 'best', ''],
      'input.style': [...notText, null, ''],
      'input.provider_options': [...notObject, null, { ideogram: 1 }, { ideogram: null }, { ideogram: { x: HUGE } }],
      'input.unknown': [1, null],
      project: notName,
      models: [
        ...notList,
        null,
        [''],
        ['ideogram'],
        ['ideogram/none'],
        ['none/none'],
        ['../x'],
        [1],
        Array(9).fill('ideogram/auto'),
      ],
      prefer: [...notText, null, 'cheap', ''],
      fallback: [...notFlag, null],
      priority: [...notWhole, null, 10],
      not_before: [...notTime, '2999-01-01T00:00:00Z', '+275760-09-13T00:00:00Z'],
      deadline_s: [...notWhole, null, 0, 10 ** 9],
      max_attempts: [...notWhole, null, 0, 11],
      max_cost_usd: ['1', -1, 1e9, true, [], {}],
      on_content_rejected: [...notText, null, 'retry', ''],
      on_outcome_unknown: [...notText, null, 'fallback', ''],
      bucket: [...notText, null, '', 'other', '../other'],
      metadata: [
        ...notObject,
        null,
        { a: 1 },
        { a: null },
        { a: {} },
        { '': 'x' },
        { 'a\u0000': 'x' },
        { ['k'.repeat(65)]: 'x' },
        { a: 'x'.repeat(513) },
        Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`k${i}`, 'x'])),
      ],
      webhook: [1, 'https://evil.example', {}],
    },
  },
  {
    method: 'POST',
    path: `${BASE}/jobs`,
    good: {
      type: 'text.generate',
      models: ['openai/gpt-5-mini'],
      input: { messages: [{ role: 'user', content: 'x' }] },
    },
    wrong: {
      type: [...notText, null, '', 'text', 'text.generate@2', 'text.generate\u0000', '__proto__'],
      input: [...notObject, null, {}, { prompt: 'x' }],
      'input.messages': [...notList, null, [null], [[]], ['x'], [{ role: 'user' }], [{ role: 'root', content: 'x' }]],
      'input.max_tokens': [...notWhole, 0, 1e9],
      'input.n': [...notWhole, 0, 129],
      'input.temperature': ['1', -1, 3, true, [], {}],
      'input.tools': [...notList, [{}], [{ type: 'function' }]],
      'input.response_format': [...notObject, { type: 'xml' }, { type: 'json_schema' }],
      'input.stream': [true],
      'input.model': ['openai/gpt-5-mini'],
      'input.unknown': [1, null],
      'input.provider_options': [...notObject, null, { openai: 1 }, { openai: { x: HUGE } }, { nobody: {} }],
      models: [
        ...notList,
        null,
        [''],
        ['openai'],
        ['openai/none'],
        ['ideogram/ideogram-3'],
        ['openai/text-embedding-3-small'],
      ],
    },
  },
  {
    method: 'POST',
    path: `${BASE}/jobs`,
    good: { type: 'text.embed', models: ['openai/text-embedding-3-small'], input: { input: 'x' } },
    wrong: {
      input: [...notObject, null, {}, { prompt: 'x' }],
      'input.input': [0, true, {}, [], [''], ['x', 1], [[]], [1.5], [-1], [null], '', null],
      'input.dimensions': [...notWhole, 0, 10 ** 9],
      'input.encoding_format': ['float'],
      'input.unknown': [1, null],
      models: [...notList, null, ['openai/none'], ['openai/gpt-5-mini']],
    },
  },
  {
    method: 'POST',
    path: `${BASE}/keys`,
    good: { name: 'new', role: 'user' },
    wrong: {
      name: [...notName, null],
      role: [...notText, null, 'root', 'owner', 'Admin', ''],
      project: notName,
      scopes: [...notList, null, ['all'], [1], ['admin'], ['jobs', 'read', 'admin', 'jobs']],
      expires_at: [...notTime, '2001-01-01T00:00:00Z'],
      key: ['sy_mine'],
    },
  },
  {
    method: 'PUT',
    path: `${BASE}/providers/ideogram`,
    good: { enabled: true },
    wrong: {
      enabled: [...notFlag, null],
      base_url: [
        ...notText,
        '',
        'ideogram',
        'file:///etc/passwd',
        'javascript:alert(1)',
        'http://api.ideogram.ai',
        'https://127.0.0.1',
        'https://[::1]',
        'https://0x7f.1',
        'https://2130706433',
        'https://10.0.0.1',
        'https://169.254.169.254/latest',
        'https://[::ffff:10.0.0.1]',
        'https://localhost',
        'https://metadata.google.internal',
        'https://user:pass@api.ideogram.ai',
        'https://router.local',
      ],
      limits: [...notObject, null, { unknown: 1 }],
      'limits.requests_per_minute': [...notWhole, 0, 10 ** 9],
      'limits.tokens_per_minute': [...notWhole, 0, 10 ** 12],
      'limits.concurrency': [...notWhole, null, 0, 1001],
      'limits.requests_per_day': [...notWhole, 0, 10 ** 12],
      timeout_ms: [...notWhole, null, 0, 999, 10 ** 9],
    },
  },
  {
    method: 'PUT',
    path: `${BASE}/providers/replicate`,
    good: { route: { type: 'ai_gateway', account: 'a', gateway: 'g' } },
    wrong: {
      route: [...notObject, {}, { type: 'binding' }, { type: 'none' }, { type: 'ai_gateway' }],
      'route.type': [...notText, null, '', 'AI_GATEWAY', 'binding', '__proto__'],
      'route.account': [...notText, null, '', 'a/b', '../up', 'a%2fb', 'a b', 'a\u0000', 'é', '\ud800', 'a'.repeat(65)],
      'route.gateway': [...notText, null, '', '.', '..', 'a?b', 'a#b', 'a\n', 'a'.repeat(65)],
      'route.cache': [...notFlag, null],
      'route.origin': [
        ...notText,
        null,
        '',
        'gateway.example',
        'file:///etc',
        'javascript:alert(1)',
        'null',
        'https://gateway.example/',
        'https://gateway.example/v1',
        'https://gateway.example?x=1',
        'https://GATEWAY.example',
        'https://user:pass@gateway.example',
        'http://gateway.example',
        'https://127.0.0.1',
        'https://10.0.0.1',
        'https://169.254.169.254',
        'https://[::1]',
        'https://localhost',
        'https://metadata.google.internal',
      ],
      'route.token': [MARKER],
      base_url: ['https://api.replicate.com/v1'],
    },
  },
  {
    method: 'POST',
    path: `${BASE}/providers/ideogram/credentials`,
    good: { name: 'new', secret: MARKER },
    wrong: {
      name: [...notName, null],
      secret: [...notText, null, '', 'a b', 'a\r\nx-admin: 1', 'a\u0000', 'schlüssel', '\ud800'],
      weight: [...notWhole, null, 1001],
      enabled: [true],
    },
  },
  {
    method: 'PATCH',
    path: `${BASE}/providers/ideogram/credentials/main`,
    good: { weight: 1 },
    wrong: { secret: [...notText, null, '', 'a b'], weight: [...notWhole, null, 1001], enabled: [...notFlag, null] },
  },
  {
    method: 'PUT',
    path: `${BASE}/budgets/instance`,
    good: { limit_usd: 1, window: 'day' },
    wrong: {
      limit_usd: [...notAmount, null],
      window: [...notText, null, '', 'week', 'Day', '__proto__'],
      alert_at: [
        ...notList.filter((value) => !Array.isArray(value)),
        null,
        [0],
        [-1],
        [11],
        ['0.5'],
        [null],
        [0.5, 0.5],
        Array.from({ length: 11 }, (_, i) => i + 1),
      ],
      scope: ['project:p'],
    },
  },
  {
    method: 'POST',
    path: `${BASE}/projects`,
    good: { name: 'new' },
    wrong: {
      name: [...notName, null],
      weight: [...notWhole, null, 0, 1001],
      budget: [...notObject, {}, { limit_usd: 1 }],
      'budget.limit_usd': notAmount,
      id: ['new'],
    },
  },
  {
    method: 'PUT',
    path: `${BASE}/prices/ideogram/ideogram-3/turbo`,
    good: { rates: { per_image_usd: 0.02 } },
    wrong: {
      kind: [...notText, 'video', ''],
      rates: [...notObject, null, {}, { per_image: 1 }, { per_image_usd: null }],
      'rates.per_image_usd': [...notRate, 1e-13],
      'rates.input_per_mtok': [...notRate, 0.0000001],
      tiers: [
        'x',
        0,
        null,
        {},
        [1],
        [{}],
        [{ above_input_tokens: 1, rates: { per_image_usd: 1 } }],
        Array(5).fill(TIER),
      ],
      'tiers.0': [
        { ...TIER, above_input_tokens: -1 },
        { ...TIER, above_input_tokens: 1.5 },
        { ...TIER, more: 1 },
      ],
      images: ['x', 0, null, {}, [{}], [{ usd: -1 }], [{ usd: 1, size: '' }], [{ usd: 1, estimate: 'yes' }]],
      effective_from: [0, true, {}, '', 'tomorrow', '2026-02-30', '2026-01-01T00:00:00Z', '20260101'],
      effective_to: [0, true, {}, '', '2026-13-01'],
      source: [...notText, null, ''],
      note: [...notText, null],
      verified: [true],
      provider: ['ideogram'],
    },
  },
  {
    method: 'PATCH',
    path: BASE,
    good: { config: {} },
    wrong: {
      config: [...notObject, null, { unknown: 1 }],
      'config.queue_bound': [...notWhole, null, 0, 10 ** 9],
      'config.prices': [...notObject, null, { unknown: 1 }],
      'config.prices.allow_unverified': [...notFlag, null],
      'config.default_models': [...notObject, null, { 'video.generate': ['a/b'] }],
      'config.time_zone': [...notText, null, '', 'Mars/Olympus', '+01:00', '../UTC', 'UTC\u0000', '__proto__'],
      'config.budget': [...notObject, null, { over: 'maybe' }, { unknown_price: true }, { limit_usd: 1 }],
      'config.default_models.image\u002egenerate': [1],
    },
  },
]

const notFilter = {
  code: [...notText, null, '', 'Canceled', 'invalid_request', '__proto__'],
  type: [...notText, null, '', 'video.generate', 'image.generate@2'],
  model: [...notText, null, '', 'a', '/', 'a/'],
  provider: [...notName, null],
  project: [...notName, null],
  from: [...notTime, null],
  to: [...notTime, null],
  unknown: [1],
}
REQUESTS.push(
  {
    method: 'POST',
    path: `${BASE}/batches`,
    good: { jobs: [image()] },
    wrong: {
      jobs: [...notText, null, [], [null], [[]], ['x'], [image(), image({ prompt: '' })], { 0: image(), length: 1 }],
      project: notName,
      metadata: [...notObject, null, { a: 1 }, { a: null }, { '': 'x' }],
      webhook: [{}],
      id: ['batch_01JAAAAAAAAAAAAAAAAAAAAAAA'],
    },
  },
  {
    method: 'POST',
    path: `${BASE}/dead-letters/replay`,
    good: {},
    wrong: { ...notFilter, rate_per_minute: [...notWhole, null, 0, 6_001] },
  },
  {
    method: 'POST',
    path: `${BASE}/dead-letters/discard`,
    good: { all: true },
    wrong: { ...notFilter, all: ['true', 1, false, null, {}] },
  },
)

const clone = (value: Fields): Fields => JSON.parse(JSON.stringify(value)) as Fields

const withField = (good: Fields, path: string, value: unknown): Fields => {
  const whole = clone(good)
  const keys = path.split('.')
  const last = keys.pop() ?? ''
  let at = whole
  for (const key of keys) {
    if (typeof at[key] !== 'object' || at[key] === null) at[key] = {}
    at = at[key] as Fields
  }
  at[last] = value
  return whole
}

export const wrongFields: Hostile[] = REQUESTS.flatMap(({ method, path, good, wrong }) =>
  Object.entries(wrong).flatMap(([field, values]) =>
    values.map((value) => ({
      name: `${method} ${path} ${field} = ${short(value)}`,
      method,
      path,
      options: { json: withField(good, field, value) },
    })),
  ),
)
