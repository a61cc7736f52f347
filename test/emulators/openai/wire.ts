import { type Spoilt, sendAnswer } from '../base/calls/answer.ts'
import { sendJson } from '../base/wire.ts'
import type { Directives } from './directives.ts'
import type { Accepted } from './intake.ts'
import { errorBody, problem } from './problems.ts'
import type { Server } from './settings.ts'
import type { Exchange, State } from './state.ts'

/** Sends the answer of an accepted call, spoilt where its directives say so. */
export const endAnswer = (state: State, { response }: Exchange, accepted: Accepted, text: string): Promise<void> =>
  sendAnswer(state, response, accepted, text, {
    send: (status, body, more) => sendJson(response, status, body, { ...accepted.headers, ...more }),
    spoilt: spoiltOf(state.settings.server, accepted.directives),
  })

function spoiltOf(server: Server, directives: Directives): Spoilt | null {
  if (directives.has('unsafe')) {
    const found = problem(400, 'moderation_blocked', 'The generated content was rejected by the safety system.')
    return { status: 400, body: errorBody('openai', { ...found, type: 'image_generation_user_error' }) }
  }
  if (directives.has('cut_after')) return null
  if (directives.has('error_200')) return { status: 200, body: errorBody(server, problem(500, 'server_error')) }
  if (directives.has('garbage'))
    return { status: 200, body: '<html>no json</html>', headers: { 'content-type': 'text/html' } }
  return directives.has('malformed') ? { status: 200, body: { object: 'other' } } : null
}
