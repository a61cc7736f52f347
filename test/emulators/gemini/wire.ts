import type { ServerResponse } from 'node:http'
import { type Directives, numberOf } from './directives.ts'
import type { Accepted } from './intake.ts'
import { errorBody, problem } from './problems.ts'
import type { Exchange, State } from './state.ts'

/** Answers with JSON, laid out as the provider does; `onSent` once all of it went to the connection, before it closes. */
export function sendJson(response: ServerResponse, status: number, body: unknown, onSent = () => {}): Promise<void> {
  const bytes = Buffer.from(typeof body === 'string' ? body : `${JSON.stringify(body, null, 2)}\n`)
  return new Promise((resolve) => {
    if (response.destroyed || response.socket?.destroyed) return resolve()
    response.once('finish', onSent)
    response.once('close', resolve)
    response.writeHead(status, {
      'content-type': 'application/json; charset=UTF-8',
      'content-length': String(bytes.length),
      server: 'scaffolding on HTTPServer2',
    })
    response.end(bytes)
  })
}

/** Sends the answer of an accepted call, spoilt where its directives say so. */
export async function endAnswer(
  state: State,
  { response }: Exchange,
  { directives, record }: Accepted,
  body: unknown,
): Promise<void> {
  const settle = (ending: 'answered' | 'cut') => state.ledger.settle(record, state.now(), ending)
  await state.wait(numberOf(directives, 'slow', 0, 0))
  const spoilt = spoiltBody(directives)
  if (spoilt !== null) {
    settle('cut')
    await sendJson(response, 200, spoilt)
    return
  }
  if (directives.has('cut_after')) {
    settle('cut')
    response.destroy()
    return
  }
  const text = `${JSON.stringify(body, null, 2)}\n`
  const bytes = Buffer.from(text)
  const cutAt = directives.has('truncated')
    ? Math.floor(bytes.length / 2)
    : Math.min(numberOf(directives, 'cut', 0, bytes.length), bytes.length)
  if (cutAt < bytes.length) {
    settle('cut')
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': String(bytes.length) })
    response.write(bytes.subarray(0, cutAt), () => response.destroy())
    return
  }
  await sendJson(response, 200, text, () => settle('answered'))
}

const spoiltBody = (directives: Directives): unknown => {
  if (directives.has('error_200')) return errorBody(problem(500))
  if (directives.has('garbage')) return '<html>no json</html>'
  return directives.has('malformed') ? { object: 'other' } : null
}
