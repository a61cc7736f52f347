/**
 * HTTP/1.1 framing for the bench's own client and provider: one message at a time on a connection, no pipelining. It does
 * no more than the bench needs, so that what is measured is the server and not this end.
 */
export type Message = { head: string; body: Buffer }

const HEAD_END = Buffer.from('\r\n\r\n')
const LAST_CHUNK = Buffer.from('0\r\n\r\n')

/** Feed it what a socket reads; it calls back once per whole message. */
export const createReader = (onMessage: (message: Message) => void): ((chunk: Buffer) => void) => {
  let kept: Buffer | null = null
  return (chunk) => {
    let data = kept ? Buffer.concat([kept, chunk]) : chunk
    kept = null
    while (data.length > 0) {
      const message = readMessage(data)
      if (!message) {
        kept = data
        return
      }
      data = data.subarray(message.length)
      onMessage(message)
    }
  }
}

const readMessage = (data: Buffer): (Message & { length: number }) | null => {
  const headLength = data.indexOf(HEAD_END)
  if (headLength < 0) return null
  const head = data.toString('latin1', 0, headLength)
  const start = headLength + HEAD_END.length
  const announced = /\r\ncontent-length: *(\d+)/i.exec(head)
  if (announced) {
    const length = start + Number(announced[1])
    return data.length < length ? null : { head, body: data.subarray(start, length), length }
  }
  if (!/\r\ntransfer-encoding: *chunked/i.test(head)) return { head, body: data.subarray(start, start), length: start }
  // The bodies measured here are JSON without line breaks, so the last chunk cannot be mistaken.
  const end = data.indexOf(LAST_CHUNK, start)
  return end < 0 ? null : { head, body: data.subarray(start, end), length: end + LAST_CHUNK.length }
}

export const statusOf = (head: string): number => Number(head.slice(9, 12))

/** A whole request, ready to be written again and again. */
export const writeRequest = (
  method: string,
  url: URL,
  headers: Record<string, string> = {},
  body: string | null = null,
): Buffer => {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  if (body !== null) lines.push(`content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`)
  return Buffer.from(
    `${method} ${url.pathname}${url.search} HTTP/1.1\r\nhost: ${url.host}\r\n${lines.join('')}\r\n${body ?? ''}`,
  )
}

export const writeAnswer = (status: string, type: string, body: Buffer | string): Buffer => {
  const bytes = Buffer.from(body)
  const head = `HTTP/1.1 ${status}\r\ncontent-type: ${type}\r\ncontent-length: ${bytes.length}\r\n\r\n`
  return Buffer.concat([Buffer.from(head), bytes])
}
