import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { answers, problemWith } from '../../emulators/gemini/spec.ts'
import { type GeminiEmulator, startGemini } from '../../emulators/gemini.ts'

let emulator: GeminiEmulator
const model = 'gemini-3.8-flash'

beforeAll(async () => {
  emulator = await startGemini({ apiKeys: ['good-key'], draw: false })
})
afterEach(() => emulator.reset())
afterAll(() => emulator.close())

describe('the emulator', () => {
  const post = (path: string, body: unknown, key = 'good-key') =>
    fetch(`${emulator.url}${path}`, { method: 'POST', headers: { 'x-goog-api-key': key }, body: JSON.stringify(body) })
  const at = (method: string, name = model) => `/v1/models/${name}:${method}`
  const ask = (text: string, config?: object) => ({
    contents: [{ role: 'user', parts: [{ text }] }],
    ...(config ? { generationConfig: config } : {}),
  })

  it.each<[string, object, RegExp]>([
    ['a field nobody knows', { ...ask('x'), max_tokens: 5 }, /Unknown name "max_tokens"/],
    ['one nobody knows further down', ask('x', { maxTokens: 5 }), /Unknown name "maxTokens" at 'generationConfig'/],
    ['no contents', { contents: [] }, /contents is not specified/],
    ['a turn without parts', { contents: [{ role: 'user', parts: [] }] }, /parts must not be empty/],
    ['a part without data', { contents: [{ parts: [{ text: '' }] }] }, /one initialized field/],
    ['a role of another dialect', { contents: [{ role: 'assistant', parts: [{ text: 'x' }] }] }, /valid role/],
    ['penalties', ask('x', { presencePenalty: 1 }), /Penalty is not enabled/],
    [
      'a level beside a budget',
      ask('x', { thinkingConfig: { thinkingLevel: 'LOW', thinkingBudget: 5 } }),
      /only one of/,
    ],
    [
      'a result of nothing',
      { contents: [{ role: 'user', parts: [{ functionResponse: { name: 'f', response: {} } }] }] },
      /immediately after a function call/,
    ],
    ['an unknown directive', ask('x [[sing]]'), /unknown directive/],
  ])('refuses %s', async (_what, body, message) => {
    const response = await post(at('generateContent'), body)
    const answer = (await response.json()) as { error: { message: string; status: string } }
    expect([response.status, answer.error.status]).toEqual([400, 'INVALID_ARGUMENT'])
    expect(answer.error.message).toMatch(message)
  })

  it('answers as the reference has it, whole and in pieces', async () => {
    const bodies = [
      ask('hello [[thoughts:5]] [[cached:2]] [[tool_use:4]]', { candidateCount: 2 }),
      ask('hello [[block]]'),
      ask('hello [[finish:RECITATION]]'),
      { ...ask('hello [[call:f]]'), tools: [{ functionDeclarations: [{ name: 'f' }] }], serviceTier: 'flex' },
    ]
    for (const body of bodies) {
      const whole = await (await post(at('generateContent'), body)).json()
      expect(problemWith(answers.generate, whole)).toBeUndefined()
      const text = await (await post(`${at('streamGenerateContent')}?alt=sse`, body)).text()
      expect(text.endsWith('\r\n\r\n')).toBe(true)
      for (const event of text.trim().split('\r\n\r\n'))
        expect(problemWith(answers.generate, JSON.parse(event.slice('data: '.length)))).toBeUndefined()
      const list = (await (await post(at('streamGenerateContent'), body)).json()) as unknown[]
      for (const item of list) expect(problemWith(answers.generate, item)).toBeUndefined()
    }
    const embedding = { model: 'models/gemini-embedding-001', content: { parts: [{ text: 'x' }] } }
    const one = await (await post(at('embedContent', 'gemini-embedding-001'), embedding)).json()
    expect(problemWith(answers.embed, one)).toBeUndefined()
    const batch = await post(at('batchEmbedContents', 'gemini-embedding-001'), { requests: [embedding, embedding] })
    expect(problemWith(answers.batchEmbed, await batch.json())).toBeUndefined()
    const headers = { 'x-goog-api-key': 'good-key' }
    const models = await (await fetch(`${emulator.url}/v1beta/models`, { headers })).json()
    expect(problemWith(answers.models, models)).toBeUndefined()
  })

  it('lets nobody in without a good key, in the header or in the address', async () => {
    expect((await post(at('generateContent'), ask('x'), 'bad')).status).toBe(400)
    expect((await fetch(`${emulator.url}/v1/models`)).status).toBe(403)
    expect((await fetch(`${emulator.url}/v1/models?key=good-key`)).status).toBe(200)
  })

  it('knows two versions, and the gateway’s address', async () => {
    expect((await post(`/v1alpha/models/${model}:generateContent`, ask('x'))).status).toBe(404)
    expect((await post(`/v1/acc/gw/google-ai-studio/v1beta/models/${model}:generateContent`, ask('x'))).status).toBe(
      200,
    )
  })

  it('holds to limits of calls and of tokens in any minute, and says in the body when to come back', async () => {
    emulator.control({ requestsPerMinute: 2 })
    const statuses: number[] = []
    for (let number = 0; number < 2; number += 1) statuses.push((await post(at('generateContent'), ask('x'))).status)
    const refused = await post(at('generateContent'), ask('x'))
    const { error } = (await refused.json()) as { error: { details: { '@type': string; retryDelay?: string }[] } }
    expect([...statuses, refused.status, refused.headers.get('retry-after')]).toEqual([200, 200, 429, null])
    expect(error.details.at(-1)?.retryDelay).toMatch(/^[\d.]+s$/)
    emulator.control({ clockOffsetMs: 60_001 })
    expect((await post(at('generateContent'), ask('x'))).status).toBe(200)
  })

  it('is governed and read over HTTP, where it is another process', async () => {
    const control = await post('/_emulator/control', { faults: ['fail:503'], faultRate: 1 })
    expect(await control.json()).toMatchObject({ faultRate: 1 })
    expect((await post(at('generateContent'), ask('x'))).status).toBe(503)
    expect((await post('/_emulator/control', { nonsense: 1 })).status).toBe(400)
    expect((await post('/_emulator/control', { faults: ['sing'] })).status).toBe(400)
    const stats = await (await fetch(`${emulator.url}/_emulator/stats`)).json()
    expect(stats).toMatchObject({ requests: 1, accepted: 0, rejected: { 503: 1 } })
    await post('/_emulator/reset', {})
    expect((await post(at('generateContent'), ask('x'))).status).toBe(200)
  })

  it.each(['stall', 'stall_stream:0', 'stall_stream:3'])('goes on from %s once it is told to', async (directive) => {
    const body = ask(`x [[${directive}]] [[say:late words here]]`)
    const answer = post(`${at('streamGenerateContent')}?alt=sse`, body).then((response) => response.text())
    await expect.poll(() => emulator.stats().inflight).toBe(1)
    // The wait may not have begun when the call has: it is ended until there is none.
    await expect.poll(() => emulator.control({ finishNow: true }) && emulator.stats().inflight).toBe(0)
    expect(await answer).toContain('late')
  })
})
