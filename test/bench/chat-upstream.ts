import { createServer } from 'node:net'
import { type Child, startChild } from './processes.ts'
import { createReader, writeAnswer } from './wire.ts'

/**
 * The model provider of the gateway's bench: OpenAI's chat completions at once, in one piece or as a stream whose chunks
 * come in writes of their own. Run as a process of its own, so that neither it nor the client waits for the other.
 */

export type ChatUpstream = Child & { url: URL }

export const startChatUpstream = async (): Promise<ChatUpstream> => {
  const child = await startChild(process.execPath, [import.meta.filename], { ready: /ready (\S+)/ })
  return { ...child, url: new URL(child.ready) }
}

const CHUNKS = 20
export const UPSTREAM_TEXT = ' The lamp turns.'.repeat(CHUNKS)

const USAGE = {
  prompt_tokens: 24,
  completion_tokens: 80,
  total_tokens: 104,
  prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
  completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0 },
}
const ABOUT = {
  id: 'chatcmpl-of-the-bench',
  created: 1_795_000_000,
  model: 'gpt-4o-mini-2024-07-18',
  service_tier: 'default',
}

const whole = (): Buffer => {
  const message = { role: 'assistant', content: UPSTREAM_TEXT, refusal: null, annotations: [] }
  const choices = [{ index: 0, message, logprobs: null, finish_reason: 'stop' }]
  return writeAnswer(
    '200 OK',
    'application/json',
    JSON.stringify({ ...ABOUT, object: 'chat.completion', choices, usage: USAGE }),
  )
}

const pieces = (): Buffer[] => {
  const event = (data: string) => framed(`data: ${data}\n\n`)
  const chunk = (more: object) => event(JSON.stringify({ ...ABOUT, object: 'chat.completion.chunk', ...more }))
  const choice = (delta: object, finish: string | null) => ({
    choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }],
    usage: null,
  })
  const content = UPSTREAM_TEXT.slice(0, UPSTREAM_TEXT.length / CHUNKS)
  const head = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n'
  const texts = Array.from({ length: CHUNKS }, (_, at) =>
    chunk(choice(at === 0 ? { role: 'assistant', content } : { content }, null)),
  )
  return [
    Buffer.concat([Buffer.from(head), texts[0] ?? Buffer.alloc(0)]),
    ...texts.slice(1),
    chunk(choice({}, 'stop')),
    chunk({ choices: [], usage: USAGE }),
    Buffer.concat([event('[DONE]'), Buffer.from('0\r\n\r\n')]),
  ]
}

const framed = (text: string): Buffer => Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`)

const serve = (): void => {
  const answer = whole()
  const stream = pieces()
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {})
    const write = (at: number) => {
      const piece = stream[at]
      if (!piece || socket.destroyed) return
      socket.write(piece)
      setImmediate(write, at + 1)
    }
    socket.on(
      'data',
      createReader(({ body }) => {
        if (body.includes('"stream":true')) write(0)
        else socket.write(answer)
      }),
    )
  })
  server.listen(0, '127.0.0.1', () => {
    const address = server.address()
    process.stdout.write(`ready http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}\n`)
  })
  process.once('SIGTERM', () => process.exit(0))
}

if (import.meta.main) serve()
