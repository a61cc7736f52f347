import { ApiError, FunctionCallingConfigMode, type GenerateContentResponse, GoogleGenAI, Modality } from '@google/genai'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { shortened } from '../../emulators/gemini/embeddings.ts'
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
