import { createParser } from 'eventsource-parser'

/** A client of the line without a library: it tells exactly what came, also where a connection broke. */

export type Heard = {
  /** Null where no answer came at all. */
  status: number | null
  headers: Headers
  text: string
  /** Pieces of text, as they came. */
  pieces: string[]
  id: string | null
  usage: { cost_usd: number | null; estimated?: boolean } | null
  error: { code: string; message: string } | null
  done: boolean
  /** How the connection ended: by itself, broken, left by us, or cut by our own patience. */
  end: 'whole' | 'broken' | 'left' | 'hung'
}

type Piece = {
  id?: string
  choices?: { delta?: { content?: string }; message?: { content?: string } }[]
  usage?: Heard['usage']
  error?: Heard['error']
}

/** Sends a chat or an embedding. `leaveAfter`: goes away with that many pieces of text heard. Never throws. */
export const hear = async (
  address: string,
  key: string,
  body: Record<string, unknown>,
  { leaveAfter = Number.POSITIVE_INFINITY, patienceMs = 45_000 } = {},
): Promise<Heard> => {
  const heard: Heard = {
    status: null,
    headers: new Headers(),
    text: '',
    pieces: [],
    id: null,
    usage: null,
    error: null,
    done: false,
    end: 'broken',
  }
  const patience = AbortSignal.timeout(patienceMs)
  const leave = new AbortController()
  try {
    const response = await fetch(address, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.any([patience, leave.signal]),
    })
    heard.status = response.status
    heard.headers = response.headers
    if (response.headers.get('content-type')?.includes('event-stream') && response.body) {
      await follow(response.body, heard, () => {
        if (heard.pieces.length >= leaveAfter) leave.abort()
      })
    } else take((await response.json()) as Piece, heard)
    heard.end = 'whole'
  } catch {
    heard.end = leave.signal.aborted ? 'left' : patience.aborted ? 'hung' : 'broken'
  }
  return heard
}

const follow = async (body: ReadableStream<Uint8Array>, heard: Heard, look: () => void): Promise<void> => {
  const decoder = new TextDecoder()
  const parser = createParser({
    onEvent: ({ data }) => {
      if (data === '[DONE]') heard.done = true
      else take(JSON.parse(data) as Piece, heard)
    },
  })
  for await (const bytes of body) {
    parser.feed(decoder.decode(bytes, { stream: true }))
    look()
  }
}

const take = ({ id, choices, usage, error }: Piece, heard: Heard): void => {
  const piece = choices?.[0]?.delta?.content ?? choices?.[0]?.message?.content ?? ''
  if (piece !== '') heard.pieces.push(piece)
  heard.text += piece
  heard.id ??= id ?? null
  heard.usage = usage ?? heard.usage
  heard.error = error ?? heard.error
}
