import { type GenerateBody, generateProblem, modelProblem } from './body.ts'
import { readDirectives } from './directives.ts'
import { pictureFor } from './images.ts'
import { type Accepted, accept } from './intake.ts'
import { book, lastTextOf, promptOf, promptTokensOf, type Reply, replyTo, usageOf } from './reply.ts'
import type { Exchange, State } from './state.ts'
import { streamAnswer } from './stream.ts'
import { endAnswer } from './wire.ts'

/** What the emulator signs with: its own mark, so that it knows its signatures again. */
const mark = 'RW11bGF0ZWQ'
const isIssued = (signature: string): boolean => signature.startsWith(mark)

/** `generateContent` and `streamGenerateContent`. */
export async function generate(state: State, exchange: Exchange, body: GenerateBody): Promise<void> {
  const { model, apiVersion, method } = exchange
  const text = lastTextOf(body)
  const accepted = await accept(state, exchange, {
    kind: 'generate',
    text,
    tokens: promptTokensOf(body),
    wrong: modelProblem(model, apiVersion, method) ?? generateProblem(model, body, isIssued),
  })
  if (!accepted) return
  const { directives, id, record } = accepted
  const reply = replyTo({
    model,
    body,
    directives,
    settings: state.settings,
    sign: () => `${mark}${String(state.next()).padStart(5, '0')}`,
    picture: pictureFor(state, model, body, directives, readDirectives(promptOf(body)).text),
    id,
  })
  if (reply.block !== null) state.ledger.takeBack(record, state.now(), 'blocked')
  if (method === 'streamGenerateContent') return streamAnswer(state, exchange, accepted, reply)
  record.images = reply.parts.filter(({ part }) => part.inlineData && !part.thought).length
  book(record, reply, reply.tokens.candidates)
  record.usageTold = reply.tellsUsage
  await endAnswer(state, exchange, accepted, wholeOf(model, accepted, reply))
}

function wholeOf(model: string, { id }: Accepted, reply: Reply): object {
  const end = {
    ...(reply.tellsUsage ? { usageMetadata: usageOf(reply, reply.tokens.candidates) } : {}),
    modelVersion: model,
    responseId: id,
  }
  if (reply.block !== null) return { promptFeedback: { blockReason: reply.block }, ...end }
  if (reply.noCandidates) return end
  const candidates = Array.from({ length: reply.candidates }, (_, index) => ({
    content: contentOf(reply),
    finishReason: reply.finish,
    ...(reply.finish === 'STOP' ? {} : { finishMessage: `Ended with ${reply.finish}.` }),
    index,
  }))
  return { candidates, ...end }
}

/** Neighbouring texts are one part. What a filter ended has no parts at all. */
function contentOf({ parts, finish }: Reply): object | undefined {
  if (finish !== 'STOP' && finish !== 'MAX_TOKENS') return undefined
  const joined: Reply['parts'][number]['part'][] = []
  for (const { part } of parts) {
    const last = joined.at(-1)
    const joins = last?.text !== undefined && part.text !== undefined && last.thought === part.thought
    if (joins) joined[joined.length - 1] = { ...last, ...part, text: `${last.text}${part.text}` }
    else joined.push(part)
  }
  return { parts: joined, role: 'model' }
}
