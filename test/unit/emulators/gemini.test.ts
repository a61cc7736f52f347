import { ApiError, FunctionCallingConfigMode, type GenerateContentResponse, GoogleGenAI, Modality } from '@google/genai'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { shortened } from '../../emulators/gemini/embeddings.ts'
import { answers, problemWith } from '../../emulators/gemini/spec.ts'
import { type GeminiEmulator, startGemini } from '../../emulators/gemini.ts'

/** The official client, unchanged, against the emulator: what runs here runs against the provider. */

let emulator: GeminiEmulator
let client: GoogleGenAI
const model = 'gemini-3.8-flash'

beforeAll(async () => {
  emulator = await startGemini({ apiKeys: ['good-key'], draw: false })
  client = new GoogleGenAI({ apiKey: 'good-key', httpOptions: { baseUrl: emulator.url } })
})
afterEach(() => emulator.reset())
afterAll(() => emulator.close())

const collect = async (stream: AsyncIterable<GenerateContentResponse>) => {
  const chunks: GenerateContentResponse[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return chunks
}
const statusOf = async (work: Promise<unknown>) => {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof ApiError)) throw new Error(`no error of the client: ${error}`)
  return { status: error.status, error: JSON.parse(error.message).error }
}

const WEATHER = {
  name: 'weather',
  description: 'of a city',
  parametersJsonSchema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
}

describe('the official client', () => {
  it.each(['v1', 'v1beta'])('generates by %s', async (apiVersion) => {
    const versioned = new GoogleGenAI({ apiKey: 'good-key', httpOptions: { baseUrl: emulator.url, apiVersion } })
    const answer = await versioned.models.generateContent({
      model,
      contents: 'hello [[say:good day]]',
      config: { systemInstruction: 'be brief', temperature: 0.5, seed: 3, stopSequences: ['x'] },
    })
    expect(answer.text).toBe('good day')
    expect(answer.candidates?.[0]?.finishReason).toBe('STOP')
    expect(answer.usageMetadata).toMatchObject({ candidatesTokenCount: 2, promptTokenCount: expect.any(Number) })
    await expect.poll(() => emulator.stats().calls).toMatchObject([{ apiVersion, answered: true, usageTold: true }])
  })

  it('uses v1 where nothing else is said', async () => {
    await client.models.generateContent({ model, contents: 'hello' })
    expect(emulator.stats().calls).toMatchObject([{ apiVersion: 'v1' }])
  })

  it('streams, with the reason and the usage at the end', async () => {
    const chunks = await collect(
      await client.models.generateContentStream({ model, contents: 'hello [[say:Grüße, 灯 🚢!]] [[split:7]]' }),
    )
    expect(chunks.map((chunk) => chunk.text ?? '').join('')).toBe('Grüße, 灯 🚢!')
    expect(chunks.filter((chunk) => chunk.candidates?.[0]?.finishReason)).toHaveLength(1)
    expect(chunks.at(-1)).toMatchObject({
      candidates: [{ finishReason: 'STOP' }],
      usageMetadata: { candidatesTokenCount: emulator.stats().tokens.candidates },
    })
    await expect.poll(() => emulator.stats().calls).toMatchObject([{ answered: true, usageTold: true, stream: true }])
  })

  it('runs a loop of tools in a chat, signatures and all', async () => {
    const chat = client.chats.create({ model, config: { tools: [{ functionDeclarations: [WEATHER] }] } })
    const asked = await chat.sendMessage({
      message: 'two towns? [[call:weather:{"city":"Rome"};weather:{"city":"Oslo"}]] [[thoughts:12]]',
    })
    expect(asked.functionCalls).toMatchObject([
      { name: 'weather', args: { city: 'Rome' }, id: expect.any(String) },
      { name: 'weather', args: { city: 'Oslo' }, id: expect.any(String) },
    ])
    const answer = await chat.sendMessage({
      message: (asked.functionCalls ?? []).map(({ id, name }) => ({
        functionResponse: { ...(id ? { id } : {}), name: name ?? '', response: { sky: 'rain' } },
      })),
    })
    expect(answer.text).toBe('The tools say: {"sky":"rain"} {"sky":"rain"}')
  })

  it('is refused where it loses the signature of a call, or invents one', async () => {
    const turns = (thoughtSignature?: string) => [
      { role: 'user', parts: [{ text: 'weather?' }] },
      {
        role: 'model',
        parts: [{ functionCall: { name: 'weather', args: {} }, ...(thoughtSignature ? { thoughtSignature } : {}) }],
      },
      { role: 'user', parts: [{ functionResponse: { name: 'weather', response: {} } }] },
    ]
    const ask = (signature?: string) => client.models.generateContent({ model, contents: turns(signature) })
    expect((await statusOf(ask())).error.message).toMatch(/missing a thought_signature/)
    expect((await statusOf(ask('aW52ZW50ZWQ='))).error.message).toMatch(/not valid/)
    await ask('skip_thought_signature_validator')
    expect(emulator.stats()).toMatchObject({ accepted: 1, rejected: { 400: 2 } })
  })

  it('calls the tool that it is forced to', async () => {
    const { functionCalls } = await client.models.generateContent({
      model,
      contents: 'hello',
      config: {
        tools: [{ functionDeclarations: [WEATHER, { ...WEATHER, name: 'tide' }] }],
        toolConfig: { functionCallingConfig: { mode: FunctionCallingConfigMode.ANY, allowedFunctionNames: ['tide'] } },
      },
    })
    expect(functionCalls).toMatchObject([{ name: 'tide', args: { city: 'xxx' } }])
  })

  it('gets an answer that keeps to a schema', async () => {
    const { text } = await client.models.generateContent({
      model,
      contents: 'a city',
      config: { responseMimeType: 'application/json', responseJsonSchema: WEATHER.parametersJsonSchema },
    })
    expect(JSON.parse(text ?? '')).toEqual({ city: 'xxx' })
  })

  it('is shown thoughts, which are counted beside the answer', async () => {
    const { candidates, usageMetadata } = await client.models.generateContent({
      model,
      contents: 'hello [[thoughts:30]] [[say:yes]]',
      config: { thinkingConfig: { includeThoughts: true } },
    })
    expect(candidates?.[0]?.content?.parts).toMatchObject([
      { thought: true, text: '**Considering the question**\n' },
      { text: 'yes', thoughtSignature: expect.any(String) },
    ])
    const { promptTokenCount = 0, totalTokenCount } = usageMetadata ?? {}
    expect(usageMetadata).toMatchObject({ thoughtsTokenCount: 30, candidatesTokenCount: 1 })
    expect(totalTokenCount).toBe(promptTokenCount + 31)
  })

  it('shows pictures and gets them made', async () => {
    const data = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
    const seen = await client.models.generateContent({
      model,
      contents: [{ inlineData: { mimeType: 'image/png', data } }, { text: 'what?' }],
    })
    expect(seen.usageMetadata?.promptTokensDetails).toContainEqual({ modality: 'IMAGE', tokenCount: 258 })
    const made = await client.models.generateContent({
      model: 'gemini-2.5-flash-image',
      contents: 'a lamp',
      config: { responseModalities: [Modality.IMAGE], imageConfig: { aspectRatio: '16:9' } },
    })
    const image = made.candidates?.[0]?.content?.parts?.[0]?.inlineData
    expect(image?.mimeType).toBe('image/png')
    expect(Buffer.from(image?.data ?? '', 'base64').readUInt32BE(16)).toBe(1_344)
    expect(made.usageMetadata?.candidatesTokensDetails).toEqual([{ modality: 'IMAGE', tokenCount: 1_120 }])
    expect(emulator.stats()).toMatchObject({ images: 1, tokens: { imageIn: 258, imageOut: 1_120 } })
  })

  it('embeds one text and many, shortened when asked', async () => {
    const one = await client.models.embedContent({ model: 'gemini-embedding-001', contents: 'a lamp' })
    expect(one.embeddings?.[0]?.values).toEqual([...shortened('a lamp', 3_072)])
    const many = await client.models.embedContent({
      model: 'gemini-embedding-001',
      contents: ['a lamp', 'the sea'],
      config: { outputDimensionality: 256, taskType: 'CLUSTERING' },
    })
    expect(many.embeddings?.map(({ values }) => values)).toEqual([
      [...shortened('a lamp', 256)],
      [...shortened('the sea', 256)],
    ])
    expect(emulator.stats().tokens.prompt).toBe(6)
  })

  it('is told what was blocked, in the prompt or in the answer', async () => {
    const prompt = await client.models.generateContent({ model, contents: 'hello [[block:PROHIBITED_CONTENT]]' })
    expect(prompt.promptFeedback?.blockReason).toBe('PROHIBITED_CONTENT')
    expect(prompt.candidates).toBeUndefined()
    const answer = await client.models.generateContent({ model, contents: 'hello [[finish:SAFETY]]' })
    expect(answer.candidates).toMatchObject([{ finishReason: 'SAFETY' }])
    expect(answer.text).toBeUndefined()
  })

  it('lists and counts', async () => {
    const names: (string | undefined)[] = []
    for await (const { name } of await client.models.list()) names.push(name)
    expect(names).toContain('models/gemini-2.5-flash')
    expect((await client.models.countTokens({ model, contents: 'hello there' })).totalTokens).toBeGreaterThan(2)
  })

  it.each<[string, number, string]>([
    ['[[fail:400]]', 400, 'INVALID_ARGUMENT'],
    ['[[fail:400:FAILED_PRECONDITION]]', 400, 'FAILED_PRECONDITION'],
    ['[[context]]', 400, 'INVALID_ARGUMENT'],
    ['[[fail:403]]', 403, 'PERMISSION_DENIED'],
    ['[[fail:404]]', 404, 'NOT_FOUND'],
    [
      '[[fail:429]] [[quota:GenerateRequestsPerDayPerProjectPerModel-FreeTier]] [[retry:59s]]',
      429,
      'RESOURCE_EXHAUSTED',
    ],
    ['[[fail:500]]', 500, 'INTERNAL'],
    ['[[fail:503]]', 503, 'UNAVAILABLE'],
    ['[[fail:504]]', 504, 'DEADLINE_EXCEEDED'],
  ])('meets the error %s', async (directive, status, word) => {
    const met = await statusOf(client.models.generateContent({ model, contents: `hello ${directive}` }))
    expect(met).toMatchObject({ status, error: { code: status, status: word } })
    expect(emulator.stats()).toMatchObject({ accepted: 0, rejected: { [status]: 1 } })
  })

  it('is told of a bad key by a 400', async () => {
    const stranger = new GoogleGenAI({ apiKey: 'bad-key', httpOptions: { baseUrl: emulator.url } })
    const { status, error } = await statusOf(stranger.models.generateContent({ model, contents: 'hello' }))
    expect([status, error.details[0].reason]).toEqual([400, 'API_KEY_INVALID'])
  })

  it('retries once it is told to', async () => {
    const patient = new GoogleGenAI({
      apiKey: 'good-key',
      httpOptions: { baseUrl: emulator.url, retryOptions: { attempts: 2, initialDelay: 0.001 } },
    })
    const answer = await patient.models.generateContent({ model, contents: 'hello [[fail_once:503]] [[say:now]]' })
    expect(answer.text).toBe('now')
    expect(emulator.stats()).toMatchObject({ requests: 2, accepted: 1, rejected: { 503: 1 } })
  })

  it.each(['[[error_event:500:2]]', '[[malformed:2]]', '[[cut:900]]'])(
    'sees a stream fail with %s',
    async (directive) => {
      const read = async () =>
        collect(await client.models.generateContentStream({ model, contents: `hello ${directive} [[chunks:50]]` }))
      await expect(read()).rejects.toThrow()
    },
  )

  it('that leaves is billed for what was generated and no more', async () => {
    const controller = new AbortController()
    const stream = await client.models.generateContentStream({
      model,
      contents: 'hello [[chunks:1000]] [[stall_stream:10]]',
      config: { abortSignal: controller.signal },
    })
    let pieces = 0
    const read = async () => {
      for await (const _ of stream) {
        pieces += 1
        if (pieces === 10) controller.abort()
      }
    }
    await expect(read()).rejects.toThrow()
    await expect.poll(() => emulator.stats().clientsLeft).toBe(1)
    expect(emulator.stats()).toMatchObject({
      inflight: 0,
      tokens: { candidates: 10 },
      calls: [{ clientLeft: true, answered: false, usageTold: false }],
    })
  })
})

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
