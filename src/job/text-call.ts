import { type ChatInput, outputLimitOf } from '../contract/chat.ts'
import type { EmbedInput } from '../contract/embedding.ts'
import type { Opening } from '../contract/foreground-rpc.ts'
import type { RateHints, SealedSecret } from '../contract/rpc.ts'
import { type Answered, faultOf, networkFault } from '../providers/answers.ts'
import type { AiBinding } from '../providers/binding-call.ts'
import type {
  ChatCall,
  ChatCompleted,
  ChatDialect,
  EmbedCall,
  EmbedCompleted,
  Encoded,
  TextProvider,
} from '../providers/dialect.ts'
import { refusesGiven } from '../providers/given-addresses.ts'
import type { Fetch, HttpResult } from '../providers/http.ts'
import type { LineOptions, LineResult } from '../providers/line-http.ts'
import type { Failed } from '../providers/provider.ts'
import { findChatModel, findEmbedModel } from '../providers/text-registry.ts'
import { type ChatStream, liveStream, wholeStream } from './text-stream.ts'
import { type Way, wayOf } from './way.ts'

/**
 * One attempt at a chat or an embedding, whoever waits for it: a client on the line or a job in a lane. It opens the
 * credential, writes the request in the provider's dialect, sends it and reads what comes. It never throws but on a bug, and
 * never decides: what follows is for the Instance.
 */

export type TextAttempt = Pick<
  Opening,
  'model' | 'baseUrl' | 'route' | 'timeoutMs' | 'credential' | 'outputLimit' | 'deadlineAtMs'
>

export type CallTools = {
  vault: { open(sealed: SealedSecret, identity: string): Promise<string | null> }
  allowPrivate: boolean
  /** Ends the call: the client has left, the job was cancelled. */
  signal: AbortSignal
  now(): number
  /** Most that an answer in one piece may hold: a lane reads six at a time. */
  answerBytesMax?: number | undefined
  /** Workers AI by the binding of this deployment, where it has one. */
  ai?: AiBinding | undefined
  /** For tests; the platform's otherwise. */
  fetch?: Fetch | undefined
}

/** How an attempt ended that was answered in one piece, or not at all. */
export type CallEnded<T> = {
  kind: 'ended'
  outcome: T | Failed
  /** Fields of the input that the provider was not told. */
  dropped: string[]
  rate: RateHints
  /** False where surely nothing was sent: then nothing was bought either. */
  sent: boolean
  /** It came from a cache on the way, and cost nothing. */
  cached: boolean
  providerMs: number
}

export type ChatOptions = {
  /** `chatcmpl-…`: the id of an answer whose provider gives none. */
  id: string
  includeObfuscation?: boolean | undefined
}

export const runChat = async (
  attempt: TextAttempt,
  input: ChatInput,
  options: ChatOptions,
  tools: CallTools,
): Promise<CallEnded<ChatCompleted>> => {
  const ready = await readyChat(attempt, input, options, false, tools)
  if ('outcome' in ready) return ready
  const { dialect, call, provider, way } = ready
  const encoded = dialect.encode(call)
  const startedAtMs = tools.now()
  const result = await way.send(encoded, lineOf(attempt, tools))
  const about = aboutOf(way, dialect, result, tools.now())
  const ending = (outcome: ChatCompleted | Failed) => ended(outcome, encoded, about, result, tools.now() - startedAtMs)
  if (result.kind === 'streaming') {
    result.bytes.stop()
    return ending(unasked(provider))
  }
  if (result.kind !== 'answered') return ending(notAnswered(provider, attempt, result, tools))
  return ending(dialect.decode(call, result))
}

/** A stream that has been opened, its first text not yet there; or the end of an attempt that never got so far. */
export const startChat = async (
  attempt: TextAttempt,
  input: ChatInput,
  options: ChatOptions,
  tools: CallTools,
): Promise<ChatStream | CallEnded<never>> => {
  const ready = await readyChat(attempt, input, options, true, tools)
  if ('outcome' in ready) return ready
  const { dialect, call, provider, way } = ready
  const encoded = dialect.encode(call)
  const { dropped } = encoded
  const startedAtMs = tools.now()
  const result = await way.send(encoded, lineOf(attempt, tools))
  const about = aboutOf(way, dialect, result, tools.now())
  const ending = (outcome: Failed) => ended(outcome, encoded, about, result, tools.now() - startedAtMs)
  if (result.kind === 'streaming') {
    const providerRequestId = requestIdOf(result.headers)
    const limits = { deadlineAtMs: attempt.deadlineAtMs, name: provider.title }
    const decoder = dialect.openStream(call)
    return liveStream(result.bytes, decoder, { ...about, dropped, startedAtMs, providerRequestId }, limits, tools.now)
  }
  if (result.kind !== 'answered') return ending(notAnswered(provider, attempt, result, tools))
  const outcome = dialect.decode(call, result)
  if (outcome.kind === 'fault') return ending(outcome)
  const { providerRequestId } = outcome
  return wholeStream(outcome, { ...about, dropped, startedAtMs, providerRequestId }, tools.now() - startedAtMs)
}

export const runEmbed = async (
  attempt: TextAttempt,
  input: EmbedInput,
  tools: CallTools,
): Promise<CallEnded<EmbedCompleted>> => {
  const found = findEmbedModel(attempt.model)
  if (!found?.provider.embed) return unsent(NO_MODEL)
  const { provider, card } = found
  const way = await openWay(attempt, provider.id, card.model, tools)
  if ('code' in way) return unsent(way)
  const dialect = way.embed(found.provider.embed)
  const call: EmbedCall = { card, input, baseUrl: baseOf(attempt), secret: way.secret, nowMs: tools.now() }
  const encoded = dialect.encode(call)
  const result = await way.send(encoded, lineOf(attempt, tools))
  const about = aboutOf(way, dialect, result, tools.now())
  const ending = (outcome: EmbedCompleted | Failed) => ended(outcome, encoded, about, result, tools.now() - call.nowMs)
  if (result.kind === 'streaming') {
    result.bytes.stop()
    return ending(unasked(provider))
  }
  if (result.kind !== 'answered') return ending(notAnswered(provider, attempt, result, tools))
  return ending(dialect.decode(call, result))
}

type Ready = { provider: TextProvider; dialect: ChatDialect; call: ChatCall; way: Way }

const readyChat = async (
  attempt: TextAttempt,
  input: ChatInput,
  { id, includeObfuscation }: ChatOptions,
  stream: boolean,
  tools: CallTools,
): Promise<Ready | CallEnded<never>> => {
  const found = findChatModel(attempt.model)
  if (!found?.provider.chat) return unsent(NO_MODEL)
  const { provider, card } = found
  // Asked where a request comes in; a job may be from before that, or from when inner networks were open.
  const astray = refusesGiven(input, tools.allowPrivate)
  if (astray) return unsent(faultOf('provider_rejected', astray.message, { param: astray.param }))
  const way = await openWay(attempt, provider.id, card.model, tools)
  if ('code' in way) return unsent(way)
  const baseUrl = baseOf(attempt)
  const limited = withinLimit(input, attempt.outputLimit)
  const call = { card, input: limited, stream, includeObfuscation, baseUrl, secret: way.secret, id, nowMs: tools.now() }
  return { provider, dialect: way.chat(found.provider.chat), call, way }
}

/** What the request leaves open, the money that is left for it sets. */
const withinLimit = (input: ChatInput, limit: number | undefined): ChatInput =>
  limit === undefined || outputLimitOf(input) !== null ? input : { ...input, max_completion_tokens: limit }

const NO_MODEL = faultOf('no_provider', 'This version knows no such model.')
/** Ours, not the provider's: the credential may be good, and is not switched off for it. */
const SEALED = faultOf('no_provider', 'The credential cannot be opened with this master key.')

const LEFT = faultOf('canceled', 'The call was ended before it was sent.')

/** Nothing to open where a way needs nothing: its secret is the empty text. */
const openWay = async (
  { credential, route }: TextAttempt,
  provider: string,
  model: string,
  { vault, signal, ai }: CallTools,
): Promise<Way | Failed> => {
  const secret = credential === null ? '' : await vault.open(credential.sealed, credential.identity)
  if (secret === null) return SEALED
  return signal.aborted ? LEFT : wayOf({ route, provider, model, secret, ai })
}

type About = { cached: boolean; rate: RateHints }

/** What headers say of limits was true when the answer was made: from a cache that is past. */
const aboutOf = (way: Way, dialect: Pick<ChatDialect, 'rate'>, result: LineResult, nowMs: number): About => {
  if (result.kind !== 'answered' && result.kind !== 'streaming') return NOTHING_TOLD
  const cached = way.isCached(result.headers)
  return cached ? { ...NOTHING_TOLD, cached } : { cached, rate: dialect.rate(result.headers, nowMs) }
}

const NOTHING_TOLD: About = { cached: false, rate: { requests: null, tokens: null } }

const baseOf = ({ baseUrl }: TextAttempt): string => baseUrl.replace(/\/+$/, '')

const lineOf = (attempt: TextAttempt, tools: CallTools): LineOptions => ({
  timeoutMs: Math.max(1, Math.min(attempt.timeoutMs, attempt.deadlineAtMs - tools.now())),
  allowPrivate: tools.allowPrivate,
  signal: tools.signal,
  now: tools.now,
  answerBytesMax: tools.answerBytesMax,
  fetch: tools.fetch,
})

const unasked = ({ title }: TextProvider): Failed =>
  faultOf('provider_protocol_error', `${title} sent a stream that nobody asked for.`)

const notAnswered = (
  { title }: TextProvider,
  { deadlineAtMs }: TextAttempt,
  result: Exclude<HttpResult, Answered>,
  { now }: CallTools,
): Failed =>
  result.kind === 'timeout' && now() >= deadlineAtMs
    ? faultOf('deadline_exceeded', 'The call did not end before its deadline.')
    : networkFault(title, result, true)

const ended = <T>(
  outcome: T | Failed,
  { dropped }: Encoded,
  about: About,
  result: LineResult,
  providerMs: number,
): CallEnded<T> => ({
  ...about,
  kind: 'ended',
  outcome,
  dropped,
  sent: result.kind !== 'refused' && result.kind !== 'unsent',
  providerMs,
})

const unsent = (outcome: Failed): CallEnded<never> => ({
  kind: 'ended',
  ...NOTHING_TOLD,
  outcome,
  dropped: [],
  sent: false,
  providerMs: 0,
})

/** What the provider's support asks for. */
const requestIdOf = (headers: Headers): string | null =>
  (headers.get('x-request-id') ?? headers.get('request-id') ?? headers.get('cf-ray'))?.slice(0, 200) ?? null
