import { numberOf } from './directives.ts'
import type { Accepted } from './intake.ts'
import { errorBody, problem } from './problems.ts'
import type { Exchange, State } from './state.ts'
import { sendJson } from './state.ts'

/** Sends the answer of an accepted call, spoilt where its directives say so. */
export async function endAnswer(
  state: State,
  { response }: Exchange,
  { directives, record, headers }: Accepted,
  body: string,
): Promise<void> {
  const settle = (ending: 'answered' | 'cut') => state.ledger.settle(record, state.now(), ending)
  await state.wait(numberOf(directives, 'slow', 0, 0))
  if (directives.has('unsafe')) {
    const found = problem(400, 'moderation_blocked', 'The generated content was rejected by the safety system.')
    settle('cut')
    await sendJson(response, 400, errorBody('openai', { ...found, type: 'image_generation_user_error' }), headers)
    return
  }
  if (directives.has('cut_after')) {
    settle('cut')
    response.destroy()
    return
  }
  if (directives.has('error_200')) {
    settle('cut')
    await sendJson(response, 200, errorBody(state.settings.server, problem(500, 'server_error')), headers)
    return
  }
  if (directives.has('garbage')) {
    settle('cut')
    await sendJson(response, 200, '<html>no json</html>', { ...headers, 'content-type': 'text/html' })
    return
  }
  if (directives.has('malformed')) {
    settle('cut')
    await sendJson(response, 200, '{"object":"other"}', headers)
    return
  }
  const bytes = Buffer.from(body)
  const cutAt = directives.has('truncated')
    ? Math.floor(bytes.length / 2)
    : Math.min(numberOf(directives, 'cut', 0, bytes.length), bytes.length)
  if (cutAt < bytes.length) {
    settle('cut')
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': String(bytes.length), ...headers })
    response.write(bytes.subarray(0, cutAt), () => response.destroy())
    return
  }
  if (await sendJson(response, 200, body, headers)) settle('answered')
}
