import { type Spoilt, sendAnswer } from '../base/calls/answer.ts'
import { sendJson } from '../base/wire.ts'
import type { MessageBody } from './body.ts'
import { refusedBy } from './checks.ts'
import type { Directives } from './directives.ts'
import { type Accepted, accept } from './intake.ts'
import { errorBody, problem, turnAway } from './problems.ts'
import { book, promptTokensOf, type Reply, replyTo, usageOf, wireOf } from './reply.ts'
import { problemWith, reference, type Version } from './spec.ts'
import type { Exchange, State } from './state.ts'
import { streamMessage } from './stream.ts'

/** `POST /v1/messages`. */
export async function createMessage(state: State, exchange: Exchange, raw: unknown): Promise<void> {
  const { settings } = state
  const wrong = settings.validate ? problemWith(reference[exchange.version].messages, raw) : undefined
  if (wrong) return turnAway(state, exchange, problem(400, wrong))
  const body = raw as MessageBody
  const refused = settings.validate ? refusedBy(exchange.version, body) : null
  if (refused) return turnAway(state, exchange, refused)
  const accepted = await accept(state, exchange, body)
  if (!accepted) return
  const reply = replyTo(body, accepted.directives, settings)
  if (body.stream) return streamMessage(state, exchange, body, accepted, reply)
  book(accepted.record, reply, reply.tokens.output)
  accepted.record.usageTold = !accepted.directives.has('no_usage')
  const message = {
    ...messageOf(exchange.version, body, accepted),
    content: reply.blocks.map(wireOf),
    stop_reason: reply.stopReason,
    stop_sequence: reply.stopSequence,
    stop_details: stopDetails(reply),
    ...(accepted.record.usageTold ? { usage: usageOf(reply, body, exchange.version) } : {}),
  }
  await endAnswer(state, exchange, accepted, JSON.stringify(message))
}

/** As it begins, before anything is said. */
export const messageOf = (version: Version, body: MessageBody, { id }: Accepted) => ({
  id,
  type: 'message',
  role: 'assistant',
  model: body.model,
  content: [] as unknown[],
  stop_reason: null as string | null,
  stop_sequence: null as string | null,
  stop_details: null as unknown,
  container: null,
  ...(version === '2026-10-21' ? { diagnostics: null } : {}),
})

export const stopDetails = ({ refused }: Reply): unknown =>
  refused
    ? { type: 'refusal', category: 'cyber', explanation: 'This request was declined by a safety classifier.' }
    : null

/** `POST /v1/messages/count_tokens`. */
export async function countTokens(state: State, exchange: Exchange, raw: unknown): Promise<void> {
  const wrong = problemWith(reference[exchange.version].countTokens, raw)
  if (wrong) return turnAway(state, exchange, problem(400, wrong))
  const input_tokens = promptTokensOf(raw as MessageBody)
  await sendJson(exchange.response, 200, { input_tokens }, { 'request-id': exchange.requestId })
}

/** Sends the answer of an accepted call, spoilt where its directives say so. */
const endAnswer = (state: State, { response, requestId }: Exchange, accepted: Accepted, text: string): Promise<void> =>
  sendAnswer(state, response, accepted, text, {
    send: (status, body) => sendJson(response, status, body, accepted.headers),
    spoilt: spoiltOf(accepted.directives, requestId),
  })

function spoiltOf(directives: Directives, requestId: string): Spoilt | null {
  if (directives.has('cut_after')) return null
  if (directives.has('filtered')) {
    const found = problem(400, 'Output blocked by content filtering policy')
    return { status: 400, body: errorBody(found, requestId) }
  }
  if (directives.has('error_200')) return { status: 200, body: errorBody(problem(500), requestId) }
  if (directives.has('garbage')) return { status: 200, body: '<html>no json</html>' }
  return directives.has('malformed') ? { status: 200, body: { type: 'other' } } : null
}
