import { ChatRequest } from '../../src/contract/chat.ts'
import { check, readJson } from '../../src/edge/body.ts'
import { planChat } from '../../src/edge/candidates.ts'
import { inputOf } from '../../src/edge/chat.ts'
import { LIMITS } from '../../src/limits.ts'
import type { Answered } from '../../src/providers/answers.ts'
import { createSseReader } from '../../src/providers/sse.ts'
import { findChatModel } from '../../src/providers/text-registry.ts'

/** What the gateway itself computes for one chat, without network and RPC: microseconds of CPU per step, on this machine. */

const tool = (at: number) => ({
  type: 'function',
  function: {
    name: `tool_${at}`,
    description: 'Looks something up and answers with a short text.',
    parameters: {
      type: 'object',
      properties: { query: { type: 'string' }, limit: { type: 'integer', minimum: 1 } },
      required: ['query'],
    },
  },
})

const SENTENCE = 'The lamp turns over the grey sea and back, as ships pass in the dark. '
const turn = (at: number) => ({ role: at % 2 === 0 ? 'user' : 'assistant', content: SENTENCE.repeat(4) })
const picture = { type: 'image_url', image_url: { url: `data:image/png;base64,${'iVBORw0KGgo'.repeat(95_000)}` } }

const CHATS: Record<string, object> = {
  'one message of 70 characters': { messages: [{ role: 'user', content: SENTENCE }] },
  '20 messages and 10 tools': {
    messages: Array.from({ length: 20 }, (_, at) => turn(at)),
    tools: Array.from({ length: 10 }, (_, at) => tool(at)),
  },
  '100 KB of text': { messages: [{ role: 'user', content: SENTENCE.repeat(1_450) }] },
  'a picture of 1 MB': { messages: [{ role: 'user', content: [{ type: 'text', text: SENTENCE }, picture] }] },
}

const answer: Answered = {
  kind: 'answered',
  status: 200,
  headers: new Headers({ 'content-type': 'application/json', 'x-request-id': 'req_1' }),
  body: JSON.stringify({
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1_763_700_000,
    model: 'gpt-5-mini',
    choices: [
      { index: 0, message: { role: 'assistant', content: SENTENCE.repeat(5), refusal: null }, finish_reason: 'stop' },
    ],
    usage: { prompt_tokens: 20, completion_tokens: 75, total_tokens: 95 },
  }),
}

/** The median of several runs, in microseconds a turn. */
const timed = async (turns: number, act: () => unknown): Promise<number> => {
  const runs: number[] = []
  for (let run = 0; run < 9; run += 1) {
    const startedMs = performance.now()
    for (let at = 0; at < turns; at += 1) await act()
    runs.push(((performance.now() - startedMs) * 1_000) / turns)
  }
  return runs.sort((one, other) => one - other)[4] ?? 0
}

const found = findChatModel('openai/gpt-5-mini')
if (!found?.provider.chat) throw new Error('the registry has no OpenAI')
const { card } = found
const dialect = found.provider.chat
const print = (name: string, micros: number) => process.stdout.write(`${name.padEnd(64)}${micros.toFixed(1)} µs\n`)

for (const [name, chat] of Object.entries(CHATS)) {
  const text = JSON.stringify({ model: 'openai/gpt-5-mini', ...chat })
  const turns = text.length > 50_000 ? 60 : 2_000
  const bytes = new TextEncoder().encode(text)
  const requestOf = () =>
    new Request('https://x.example', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-length': String(bytes.length) },
      body: bytes,
    })
  const body = await readJson(requestOf(), LIMITS.chatBodyBytes)
  const request = check(ChatRequest, structuredClone(body))
  const input = inputOf(request)
  const call = { card, input, stream: false, baseUrl: 'https://x.example', secret: 's', id: 'i', nowMs: 0 }
  print(`${name}: read and parse`, await timed(turns, () => readJson(requestOf(), LIMITS.chatBodyBytes)))
  print(`${name}: validate`, await timed(turns, () => check(ChatRequest, { ...(body as object) })))
  print(`${name}: candidates and expected tokens`, await timed(turns, () => planChat(request, input)))
  print(`${name}: write the provider’s request`, await timed(turns, () => JSON.stringify(dialect.encode(call).body)))
  if (turns > 100) print(`${name}: read the provider’s answer`, await timed(turns, () => dialect.decode(call, answer)))
}

const chunk = (content: string) =>
  `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"${content}"},"finish_reason":null}],"usage":null}\n\n`
const input = inputOf(check(ChatRequest, { model: 'openai/gpt-5-mini', ...CHATS['one message of 70 characters'] }))
const streamed = { card, input, stream: true, baseUrl: '', secret: 's', id: 'i', nowMs: 0 }
const parts = Array.from({ length: 200 }, (_, at) => new TextEncoder().encode(chunk(`word${at} `)))
const perStream = await timed(50, () => {
  const reader = createSseReader()
  const decoder = dialect.openStream(streamed)
  let written = 0
  for (const part of parts)
    for (const event of reader.read(part)) for (const { json } of decoder.push(event)) written += json.length
  return written
})
print('a chunk of a stream: read, decode, write', perStream / parts.length)
