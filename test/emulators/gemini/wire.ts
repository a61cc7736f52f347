import type { ServerResponse } from 'node:http'
import { type Spoilt, sendAnswer } from '../base/calls/answer.ts'
import { sendBytes } from '../base/wire.ts'
import type { Directives } from './directives.ts'
import type { Accepted } from './intake.ts'
import { errorBody, problem } from './problems.ts'
import type { Exchange, State } from './state.ts'

/** As the provider lays JSON out. */
const textOf = (body: unknown): string => `${JSON.stringify(body, null, 2)}\n`

/** Answers with JSON, text as it stands, and resolves true when all of it went to the connection. */
export const sendJson = (response: ServerResponse, status: number, body: unknown): Promise<boolean> =>
  sendBytes(response, status, Buffer.from(typeof body === 'string' ? body : textOf(body)), {
    'content-type': 'application/json; charset=UTF-8',
    server: 'scaffolding on HTTPServer2',
  })

/** Sends the answer of an accepted call, spoilt where its directives say so. */
export const endAnswer = (state: State, { response }: Exchange, accepted: Accepted, body: unknown): Promise<void> =>
  sendAnswer(state, response, accepted, textOf(body), {
    send: (status, sent) => sendJson(response, status, sent),
    spoilt: spoiltOf(accepted.directives),
  })

function spoiltOf(directives: Directives): Spoilt | null {
  if (directives.has('error_200')) return { status: 200, body: errorBody(problem(500)) }
  if (directives.has('garbage')) return { status: 200, body: '<html>no json</html>' }
  return directives.has('malformed') ? { status: 200, body: { object: 'other' } } : null
}
