import type { IncomingMessage, ServerResponse } from 'node:http'

/** One request and its answer. */
export interface Exchange {
  request: IncomingMessage
  response: ServerResponse
  url: URL
}

/** The whole body, or undefined when it is larger than the limit. Rejects when the client goes away. */
export async function readBody(request: IncomingMessage, limitBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > limitBytes) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** The value that a body holds, or undefined where there is no body or no JSON in it. */
export function parseJson(body: Buffer | undefined): unknown {
  try {
    return JSON.parse(body?.toString('utf8') ?? '')
  } catch {
    return undefined
  }
}

export const isJsonObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * Answers with JSON, text as it stands, and resolves true when all of it went to the connection, false when the client was
 * gone.
 */
export const sendJson = (
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<boolean> => {
  const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body))
  return sendBytes(response, status, bytes, { 'content-type': 'application/json', ...headers })
}

/** As `sendJson`, for any bytes. */
export function sendBytes(
  response: ServerResponse,
  status: number,
  body: Buffer,
  headers: Record<string, string>,
): Promise<boolean> {
  return new Promise((resolve) => {
    if (response.destroyed || response.socket?.destroyed) return resolve(false)
    response.once('finish', () => resolve(true))
    response.once('close', () => resolve(false))
    response.writeHead(status, { 'content-length': String(body.length), ...headers })
    response.end(body)
  })
}
