import { createServer, type Socket } from 'node:net'
import { encodeFlatPng } from '../emulators/picture/png.ts'
import { createReader, writeAnswer } from './wire.ts'

/**
 * The providers of the bench, which answer a call at once: OpenAI's chat completions, and Ideogram's synchronous API v2 with
 * the URL of a tiny picture that is also served, each in as much as the real adapter reads. Everything else (BullMQ's worker,
 * pg-boss's, the bare lanes) makes the call of a chat.
 */
export type BenchProvider = {
  url: string
  /** Calls answered or held, and pictures served. */
  counts: { calls: number; pictures: number }
  /** From now on calls wait for an answer, so that what is queued stays queued. */
  hold(): void
  /** Answers those that wait, and from now on at once. */
  release(): void
  close(): Promise<void>
}

const TEXT_BASE = '/v1'
export const TEXT_PATH = `${TEXT_BASE}/chat/completions`

/** Where each kind of job has its provider. */
export const providerBase = { text: TEXT_BASE, image: '' }

/** What a chat is asked with. */
export const CHAT = { messages: [{ role: 'user', content: 'a lighthouse at dawn' }], max_tokens: 50 }

const CHAT_ANSWER = {
  id: 'chatcmpl-of-the-bench',
  object: 'chat.completion',
  created: 1_795_000_000,
  model: 'gpt-4o-mini-2024-07-18',
  service_tier: 'default',
  choices: [
    { index: 0, message: { role: 'assistant', content: 'The lamp turns.', refusal: null }, finish_reason: 'stop' },
  ],
  usage: { prompt_tokens: 12, completion_tokens: 4, total_tokens: 16 },
}

export const startProvider = async (): Promise<BenchProvider> => {
  const sockets = new Set<Socket>()
  /** Those that wait, with what they wait for. */
  const held = new Map<Socket, Buffer>()
  const counts = { calls: 0, pictures: 0 }
  let isHeld = false
  let image: Buffer = Buffer.alloc(0)
  const chat = writeAnswer('200 OK', 'application/json', JSON.stringify(CHAT_ANSWER))
  const picture = writeAnswer('200 OK', 'image/png', encodeFlatPng([40, 90, 160], 16, 16, false))
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => {
      sockets.delete(socket)
      held.delete(socket)
    })
    socket.on(
      'data',
      createReader(({ head }) => {
        if (head.startsWith('GET')) {
          counts.pictures += 1
          return socket.write(picture)
        }
        counts.calls += 1
        const answer = head.startsWith(`POST ${TEXT_BASE}/`) ? chat : image
        return isHeld ? held.set(socket, answer) : socket.write(answer)
      }),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
  const images = [{ url: `${url}/picture.png`, is_image_safe: true, seed: 7 }]
  image = writeAnswer('200 OK', 'application/json', JSON.stringify({ generation_id: 'gen-of-the-bench', data: images }))
  return {
    url,
    counts,
    hold: () => {
      isHeld = true
    },
    release: () => {
      isHeld = false
      for (const [socket, answer] of held) socket.write(answer)
      held.clear()
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}
