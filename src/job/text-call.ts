import type { ChatInput } from '../contract/chat.ts'
import type { EmbedInput } from '../contract/embedding.ts'
import type { Opening } from '../contract/foreground-rpc.ts'
import type { SealedSecret } from '../contract/rpc.ts'
import { type Answered, faultOf, networkFault } from '../providers/answers.ts'
import type {
  ChatCall,
  ChatCompleted,
  EmbedCall,
  EmbedCompleted,
  Encoded,
  RateHints,
  TextProvider,
} from '../providers/dialect.ts'
import type { Fetch, HttpResult } from '../providers/http.ts'
import { type LineOptions, type LineResult, sendOnLine } from '../providers/line-http.ts'
import type { Failed } from '../providers/provider.ts'
import { findChatModel, findEmbedModel } from '../providers/text-registry.ts'
import { type ChatStream, liveStream, wholeStream } from './text-stream.ts'

/**
 * One attempt at a chat or an embedding, whoever waits for it: a client on the line or a job in a lane. It opens the
 * credential, writes the request in the provider's dialect, sends it and reads what comes. It never throws but on a bug, and
 * never decides: what follows is for the Instance.
 */

export type TextAttempt = Pick<Opening, 'model' | 'baseUrl' | 'timeoutMs' | 'credential' | 'deadlineAtMs'>

export type CallTools = {
  vault: { open(sealed: SealedSecret, identity: string): Promise<string | null> }
  allowPrivate: boolean
  /** Ends the call: the client has left, the job was cancelled. */
  signal: AbortSignal
  now(): number
  /** Most that an answer in one piece may hold: a lane reads six at a time. */
  answerBytesMax?: number | undefined
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
  const { dialect, call, provider } = ready
  const encoded = dialect.encode(call)
  const startedAtMs = tools.now()
  const result = await sendOnLine(requestOf(encoded), lineOf(attempt, tools))
  const ending = (outcome: ChatCompleted | Failed, rate: RateHints) =>
    ended(outcome, encoded, rate, result, tools.now() - startedAtMs)
  if (result.kind === 'streaming') {
    result.bytes.stop()
    return ending(unasked(provider), NO_RATE)
  }
  if (result.kind !== 'answered') return ending(notAnswered(provider, attempt, result, tools), NO_RATE)
  return ending(dialect.decode(call, result), dialect.rate(result.headers, tools.now()))
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
  const { dialect, call, provider } = ready
  const encoded = dialect.encode(call)
  const startedAtMs = tools.now()
  const result = await sendOnLine(requestOf(encoded), lineOf(attempt, tools))
  const ending = (outcome: Failed, rate: RateHints) => ended(outcome, encoded, rate, result, tools.now() - startedAtMs)
  if (result.kind === 'streaming') {
    const rate = dialect.rate(result.headers, tools.now())
    const about = { dropped: encoded.dropped, rate, startedAtMs, providerRequestId: requestIdOf(result.headers) }
    const limits = { deadlineAtMs: attempt.deadlineAtMs, name: provider.title }
    return liveStream(result.bytes, dialect.openStream(call), about, limits, tools.now)
  }
  if (result.kind !== 'answered') return ending(notAnswered(provider, attempt, result, tools), NO_RATE)
  const outcome = dialect.decode(call, result)
  const rate = dialect.rate(result.headers, tools.now())
  if (outcome.kind === 'fault') return ending(outcome, rate)
  const about = { dropped: encoded.dropped, rate, startedAtMs, providerRequestId: outcome.providerRequestId }
  return wholeStream(outcome, about, tools.now() - startedAtMs)
}

export const runEmbed = async (
  attempt: TextAttempt,
  input: EmbedInput,
  tools: CallTools,
): Promise<CallEnded<EmbedCompleted>> => {
  const found = findEmbedModel(attempt.model)
  const secret = await secretOf(attempt, tools)
  const dialect = found?.provider.embed
  if (!found || !dialect) return unsent(NO_MODEL)
  if (secret === null) return unsent(SEALED)
  if (tools.signal.aborted) return unsent(LEFT)
  const call: EmbedCall = { card: found.card, input, baseUrl: baseOf(attempt), secret, nowMs: tools.now() }
  const encoded = dialect.encode(call)
  const result = await sendOnLine(requestOf(encoded), lineOf(attempt, tools))
  const providerMs = tools.now() - call.nowMs
  if (result.kind === 'streaming') {
    result.bytes.stop()
    return ended<EmbedCompleted>(unasked(found.provider), encoded, NO_RATE, result, providerMs)
  }
  if (result.kind !== 'answered')
    return ended<EmbedCompleted>(
      notAnswered(found.provider, attempt, result, tools),
      encoded,
      NO_RATE,
      result,
      providerMs,
    )
  const rate = dialect.rate(result.headers, tools.now())
  return ended(dialect.decode(call, result), encoded, rate, result, providerMs)
}

const NO_RATE: RateHints = { requests: null, tokens: null }

type Ready = { provider: TextProvider; dialect: NonNullable<TextProvider['chat']>; call: ChatCall }

const readyChat = async (
  attempt: TextAttempt,
  input: ChatInput,
  { id, includeObfuscation }: ChatOptions,
  stream: boolean,
  tools: CallTools,
): Promise<Ready | CallEnded<never>> => {
  const found = findChatModel(attempt.model)
  const secret = await secretOf(attempt, tools)
  const dialect = found?.provider.chat
  if (!found || !dialect) return unsent(NO_MODEL)
  if (secret === null) return unsent(SEALED)
  if (tools.signal.aborted) return unsent(LEFT)
  const nowMs = tools.now()
  const call = { card: found.card, input, stream, includeObfuscation, baseUrl: baseOf(attempt), secret, id, nowMs }
  return { provider: found.provider, dialect, call }
}

const NO_MODEL = faultOf('no_provider', 'This version knows no such model.')
/** Ours, not the provider's: the credential may be good, and is not switched off for it. */
const SEALED = faultOf('no_provider', 'The credential cannot be opened with this master key.')

const LEFT = faultOf('canceled', 'The call was ended before it was sent.')

/** Nothing to open where a provider needs nothing: its secret is the empty text. */
const secretOf = async ({ credential }: TextAttempt, { vault }: CallTools): Promise<string | null> =>
  credential === null ? '' : vault.open(credential.sealed, credential.identity)

const baseOf = ({ baseUrl }: TextAttempt): string => baseUrl.replace(/\/+$/, '')

const requestOf = ({ url, headers, body }: Encoded) => ({ url, headers, json: body })

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
  rate: RateHints,
  result: LineResult,
  providerMs: number,
): CallEnded<T> => ({
  kind: 'ended',
  outcome,
  dropped,
  rate,
  sent: result.kind !== 'refused' && result.kind !== 'unsent',
  providerMs,
})

const unsent = (outcome: Failed): CallEnded<never> => ({
  kind: 'ended',
  outcome,
  dropped: [],
  rate: NO_RATE,
  sent: false,
  providerMs: 0,
})

/** What the provider's support asks for. */
const requestIdOf = (headers: Headers): string | null =>
  (headers.get('x-request-id') ?? headers.get('request-id') ?? headers.get('cf-ray'))?.slice(0, 200) ?? null
