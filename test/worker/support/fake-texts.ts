import { vi } from 'vitest'
import { must, openSite, type Site } from './client.ts'
import { pause } from './clock.ts'
import { fakeIdeogram } from './fake-ideogram.ts'

/** OpenAI's and Anthropic's wires in memory, as much as text jobs need of them. The faithful ones are the emulators. */

export type TextKind = 'openai' | 'anthropic' | 'embeddings'
export type Asked = { kind: TextKind; headers: Headers; body: Record<string, unknown> }
type Reply = (asked: Asked) => Response

export type FakeTexts = {
  asked: Asked[]
  /** Calls that hang now. */
  open: number
  /** Calls that their caller gave up. */
  aborted: number
  /** Answers given instead of the usual ones, first in first out. */
  next: Record<TextKind, Reply[]>
  hold(): void
  release(): void
  /** Calls of one kind so far. */
  count(kind: TextKind): number
}

/** What every usual answer of a chat says that it used. */
export const USED = { prompt_tokens: 11, completion_tokens: 7 }

export const completion = (content: string, more: Record<string, unknown> = {}) => ({
  id: 'chatcmpl-of-the-provider',
  object: 'chat.completion',
  created: 1_790_000_000,
  model: 'gpt-5-mini-2025-08-07',
  choices: [{ index: 0, message: { role: 'assistant', content, refusal: null }, finish_reason: 'stop' }],
  usage: USED,
  ...more,
})

const message = (text: string) => ({
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: 'claude-sonnet-4-5',
  content: [{ type: 'text', text }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: USED.prompt_tokens, output_tokens: USED.completion_tokens },
})

export const failing =
  (
    status: number,
    body: unknown = { error: { message: 'no', type: 'x' } },
    headers: Record<string, string> = {},
  ): Reply =>
  () =>
    Response.json(body, { status, headers })

export const answering =
  (body: unknown): Reply =>
  () =>
    Response.json(body)

const usual = ({ kind, body }: Asked): Response => {
  if (kind === 'anthropic') return Response.json(message('Hello from Anthropic'))
  if (kind === 'openai') return Response.json(completion('Hello from OpenAI'))
  const inputs = Array.isArray(body['input']) ? body['input'] : [body['input']]
  return Response.json({
    object: 'list',
    model: 'text-embedding-3-small',
    data: inputs.map((_, index) => ({ object: 'embedding', index, embedding: [0.5, -1, index] })),
    usage: { prompt_tokens: 5, total_tokens: 5 },
  })
}

export const fakeTexts = (): FakeTexts => {
  let held = false
  const fake: FakeTexts = {
    asked: [],
    open: 0,
    aborted: 0,
    next: { openai: [], anthropic: [], embeddings: [] },
    hold: () => {
      held = true
    },
    release: () => {
      held = false
    },
    count: (kind) => fake.asked.filter((one) => one.kind === kind).length,
  }
  // Other providers keep the fake they have.
  const others = vi.isMockFunction(globalThis.fetch) ? vi.mocked(globalThis.fetch).getMockImplementation() : undefined
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
    const url = new URL(String(input))
    if (others && url.hostname !== 'api.openai.com' && url.hostname !== 'api.anthropic.com') return others(input, init)
    const kind =
      url.hostname === 'api.anthropic.com'
        ? 'anthropic'
        : url.pathname.endsWith('/embeddings')
          ? 'embeddings'
          : 'openai'
    const body = (await new Response(init?.body ?? null).json()) as Record<string, unknown>
    const asked: Asked = { kind, headers: new Headers(init?.headers), body }
    fake.asked.push(asked)
    fake.open += 1
    try {
      const reply = fake.next[kind].shift() ?? usual
      // In the caller's own turn: a promise of one request cannot be settled by another.
      while (held) {
        if (init?.signal?.aborted) {
          fake.aborted += 1
          throw new Error('aborted')
        }
        await pause(2)
      }
      return reply(asked)
    } finally {
      fake.open -= 1
    }
  })
  return fake
}

export const GPT = 'openai/gpt-5-mini'
export const EMBED = 'openai/text-embedding-3-small'

/** The instance `prod` that calls fakes of text only. */
export const openTexts = async (): Promise<{ site: Site; provider: FakeTexts }> => {
  fakeIdeogram()
  const provider = fakeTexts()
  const site = await openSite('prod')
  await provisionTexts(site)
  return { site, provider }
}

/** Credentials for both providers of text, and prices that are easy to follow: US dollars per million tokens. */
const provisionTexts = async (site: Site): Promise<void> => {
  for (const provider of ['openai', 'anthropic']) {
    const credential = { name: 'main', secret: `${provider}-secret-of-the-tests-0123456789` }
    await must(201, site.send('POST', `/providers/${provider}/credentials`, { json: credential }))
  }
  await setPrice(site, GPT, 3, 5)
  await setPrice(site, CLAUDE, 7, 11)
  await must(200, site.send('PUT', `/prices/${EMBED}`, { json: { rates: { input_per_mtok: 13 } } }))
}

const setPrice = (site: Site, model: string, input_per_mtok: number, output_per_mtok: number) =>
  must(200, site.send('PUT', `/prices/${model}`, { json: { rates: { input_per_mtok, output_per_mtok } } }))

export const CLAUDE = 'anthropic/claude-sonnet-4-5'

export const chatJob = (more: Record<string, unknown> = {}, input: Record<string, unknown> = {}) => ({
  type: 'text.generate',
  models: [GPT],
  input: { messages: [{ role: 'user', content: 'Hello' }], max_completion_tokens: 100, ...input },
  ...more,
})

export const embedJob = (input: unknown = ['a', 'b'], more: Record<string, unknown> = {}) => ({
  type: 'text.embed',
  models: [EMBED],
  input: { input },
  ...more,
})
