import { TAIL_BYTES } from '../core/image-header.ts'
import { toHex } from './digest.ts'

/** Reading a body piece by piece, with its failures as values. */
export type Incoming = {
  /** The next piece, never empty; `end` or `broken` (the body errored) from then on. */
  next(): Promise<Uint8Array | 'end' | 'broken'>
  /** Lets go of what is left, so that the connection behind it is freed. Harmless at any time. */
  cancel(): void
}

export const openIncoming = (body: ReadableStream<Uint8Array>): Incoming => {
  const { read, cancel } = openReader(body)
  let over: 'end' | 'broken' | null = null
  return {
    async next() {
      while (!over) {
        const piece = await read().catch(() => 'broken' as const)
        if (typeof piece === 'string') over = piece
        else if (piece.length > 0) return piece
      }
      return over
    },
    cancel() {
      // Not awaited: a body that hangs must not hold up the answer. A body that errored rejects here once more.
      cancel().catch(() => {})
    },
  }
}

const PIECE_BYTES = 64 * 1024

/**
 * The runtime's own streams (an HTTP answer, an R2 object) give pieces of 4 KiB unless they are read into a buffer; with
 * 64 KiB a picture of 10 MB is stored in half the time (workerd of November 2026). Streams made by code may not offer that.
 */
const openReader = (body: ReadableStream<Uint8Array>) => {
  try {
    const reader = body.getReader({ mode: 'byob' })
    const read = async (): Promise<Uint8Array | 'end'> => {
      const { done, value } = await reader.read(new Uint8Array(PIECE_BYTES))
      if (done || !value) return 'end'
      // Cut to size: pieces may be held, and a short one must not keep a whole buffer.
      return value.length < PIECE_BYTES ? value.slice() : value
    }
    return { read, cancel: () => reader.cancel() }
  } catch {
    const reader = body.getReader()
    const read = async (): Promise<Uint8Array | 'end'> => {
      const { done, value } = await reader.read()
      return done ? 'end' : value
    }
    return { read, cancel: () => reader.cancel() }
  }
}

/** The first bytes of a body, read ahead. `over` is null while there may be more. */
export type Head = { chunks: Uint8Array[]; bytes: number; over: 'end' | 'broken' | null }

/** Reads on until there are `bound` bytes or more, or the body is over. */
export const readHead = async (incoming: Incoming, head: Head, bound: number): Promise<void> => {
  while (!head.over && head.bytes < bound) {
    const piece = await incoming.next()
    if (typeof piece === 'string') {
      head.over = piece
    } else {
      head.chunks.push(piece)
      head.bytes += piece.length
    }
  }
}

/** The first `bound` bytes of the pieces, in one. */
export const join = (chunks: readonly Uint8Array[], bound: number): Uint8Array => {
  const total = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  const joined = new Uint8Array(Math.min(total, bound))
  let at = 0
  for (const chunk of chunks) {
    if (at >= joined.length) break
    const part = chunk.subarray(0, joined.length - at)
    joined.set(part, at)
    at += part.length
  }
  return joined
}

/** Counts and hashes a file that passes by, and remembers its end. */
export type Measure = {
  take(chunk: Uint8Array): Promise<void>
  bytes(): number
  /** The last `TAIL_BYTES`, or all where there are fewer. */
  tail(): Uint8Array
  /** Lower-case hex. Ends the measure. */
  sha256(): Promise<string>
  /** Ends the measure without a result. */
  abandon(): void
}

export const createMeasure = (): Measure => {
  const digest = new crypto.DigestStream('SHA-256')
  const writer = digest.getWriter()
  // An abandoned digest rejects, also where nobody asks for it.
  digest.digest.catch(() => {})
  writer.closed.catch(() => {})
  let bytes = 0
  let tail: Uint8Array = new Uint8Array(0)
  return {
    async take(chunk) {
      bytes += chunk.length
      tail = chunk.length >= TAIL_BYTES ? chunk.slice(-TAIL_BYTES) : join([tail, chunk], Infinity).slice(-TAIL_BYTES)
      await writer.write(chunk)
    },
    bytes: () => bytes,
    tail: () => tail,
    async sha256() {
      await writer.close()
      return toHex(new Uint8Array(await digest.digest))
    },
    abandon() {
      writer.abort().catch(() => {})
    },
  }
}
