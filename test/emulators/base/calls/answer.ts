import type { ServerResponse } from 'node:http'
import { type Given, numberOf } from '../directives.ts'
import { dayMs, type Serving } from './intake.ts'
import type { Call, Ending } from './ledger.ts'

/** The answer to an accepted call, whole or broken as its directives say. */

export interface Answering<Name extends string> {
  directives: Given<Name>
  record: Call
  headers?: Record<string, string>
}

/** What is sent in place of the answer. */
export interface Spoilt {
  status: number
  body: unknown
  headers?: Record<string, string>
}

/** Whether the directives break the connection in place of an answer, or send nothing or a page: of a stream, too. */
export function isReplaced(
  state: Serving,
  response: ServerResponse,
  { directives, record, headers = {} }: Answering<'cut_after' | 'empty' | 'html'>,
  contentType = 'application/json',
): boolean {
  const page = directives.has('html') ? '<!doctype html><title>Welcome</title>' : ''
  if (directives.has('cut_after')) response.destroy()
  else if (directives.has('empty') || page !== '') {
    response.writeHead(200, { ...headers, 'content-type': page === '' ? contentType : 'text/html' })
    response.end(page)
  } else return false
  state.ledger.settle(record, state.now(), 'cut')
  return true
}

/** How this provider sends a body, and what it sends in place of the answer where directives spoil it. */
interface Manner {
  /** Resolves true when all of it went to the connection. Text goes as it stands, all else as JSON. */
  send(status: number, body: unknown, headers?: Record<string, string>): Promise<boolean>
  spoilt: Spoilt | null
}

/** Sends the whole answer, or what its directives make of it. */
export async function sendAnswer(
  state: Serving,
  response: ServerResponse,
  call: Answering<'cut_after' | 'empty' | 'html' | 'slow' | 'truncated' | 'stall_half' | 'cut'>,
  text: string,
  { send, spoilt }: Manner,
): Promise<void> {
  const { directives, record, headers = {} } = call
  const settle = (ending: Ending) => state.ledger.settle(record, state.now(), ending)
  await state.wait(numberOf(directives, 'slow', 0, 0))
  if (spoilt) {
    settle('cut')
    await send(spoilt.status, spoilt.body, spoilt.headers)
    return
  }
  if (isReplaced(state, response, call)) return
  const bytes = Buffer.from(text)
  const cutAt =
    directives.has('truncated') || directives.has('stall_half')
      ? Math.floor(bytes.length / 2)
      : Math.min(numberOf(directives, 'cut', 0, bytes.length), bytes.length)
  if (cutAt < bytes.length) {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': String(bytes.length), ...headers })
    const written = new Promise<void>((resolve) => response.write(bytes.subarray(0, cutAt), () => resolve()))
    await written
    if (directives.has('stall_half')) await state.wait(dayMs)
    settle('cut')
    response.destroy()
    return
  }
  if (await send(200, text)) settle('answered')
}
