import { createServer, type Socket } from 'node:net'
import { encodeFlatPng } from '../emulators/picture/png.ts'
import { createReader, writeAnswer } from './wire.ts'

/**
 * The provider of the bench: answers a call at once, in as much of Ideogram's synchronous API v2 as the real adapter reads,
 * with the URL of a tiny picture that it also serves. Everything else (BullMQ's worker, pg-boss's, the bare lanes) makes the
 * same call.
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

export const PROVIDER_PATH = '/v2/image/generate/ideogram-3'

export const startProvider = async (): Promise<BenchProvider> => {
  const sockets = new Set<Socket>()
  const held = new Set<Socket>()
  const counts = { calls: 0, pictures: 0 }
  let isHeld = false
  let answer: Buffer = Buffer.alloc(0)
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
        return isHeld ? held.add(socket) : socket.write(answer)
      }),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
  const images = [{ url: `${url}/picture.png`, is_image_safe: true, seed: 7 }]
  answer = writeAnswer(
    '200 OK',
    'application/json',
    JSON.stringify({ generation_id: 'gen-of-the-bench', data: images }),
  )
  return {
    url,
    counts,
    hold: () => {
      isHeld = true
    },
    release: () => {
      isHeld = false
      for (const socket of held) socket.write(answer)
      held.clear()
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}
