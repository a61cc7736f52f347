import type { ChatInput } from '../contract/chat.ts'
import type { EmbedInput } from '../contract/embedding.ts'
import { type Fault, fault } from '../contract/fault.ts'
import { providerIdOf } from '../contract/ids.ts'
import type { JobOutput } from '../contract/job.ts'
import type { Assignment, AttemptEnd } from '../contract/rpc.ts'
import type { EmbedOutput } from '../contract/text-output.ts'
import { type Usage, usageOf } from '../contract/usage.ts'
import { callCostMicros, presumedCallMicros } from '../core/call-cost.ts'
import { generatedText } from '../core/chunks.ts'
import { expectedOfEmbed, promptTokensOf } from '../core/expected.ts'
import { FAULT_TABLE } from '../core/outcome.ts'
import { tokensOf } from '../core/tokens.ts'
import { LIMITS } from '../limits.ts'
import { toBase64 } from '../providers/openai-embeddings.ts'
import type { Failed } from '../providers/provider.ts'
import type { Tools } from './attempt.ts'
import { type CallEnded, type CallTools, runChat, runEmbed } from './text-call.ts'

/**
 * One attempt of a text job: a single call, answered in one piece. It reaches no point from which another process could go
 * on, and keeps nothing; what was answered goes with its end. Throws only on a bug, and decides nothing.
 */
export const runTextAttempt = async (assignment: Assignment, tools: Tools): Promise<AttemptEnd> => {
  tools.progress(0.02, `sent to ${providerIdOf(assignment.model)}`)
  return assignment.type === 'text.embed@1' ? embed(assignment, tools) : generate(assignment, tools)
}

const generate = async (assignment: Assignment, tools: Tools): Promise<AttemptEnd> => {
  const input = JSON.parse(assignment.input) as ChatInput
  const id = `chatcmpl-${assignment.job}-${assignment.attempt}`
  const { outcome, ...call } = await runChat(assignment, input, { id }, callTools(tools))
  if (outcome.kind === 'fault') return failed(outcome, call)
  const { completion, serviceTier, providerRequestId } = outcome
  const estimated = () =>
    usageOf({
      inputTokens: promptTokensOf(input),
      outputTokens: tokensOf(generatedText(completion)),
      estimated: true,
    })
  const usage = outcome.usage ?? estimated()
  return answered(completion, {
    ...call,
    usage,
    providerRequestId,
    ...costOf(assignment, usage, call.cached, serviceTier),
  })
}

const embed = async (assignment: Assignment, tools: Tools): Promise<AttemptEnd> => {
  const input = JSON.parse(assignment.input) as EmbedInput
  const { outcome, ...call } = await runEmbed(assignment, input, callTools(tools))
  if (outcome.kind === 'fault') return failed(outcome, call)
  const { vectors, model, providerRequestId } = outcome
  const usage = outcome.usage ?? usageOf({ inputTokens: expectedOfEmbed(input).inputTokens, estimated: true })
  const output: EmbedOutput = {
    object: 'list',
    encoding_format: 'base64',
    data: vectors.map((vector, index) => ({ object: 'embedding', index, embedding: toBase64(vector) })),
    model,
  }
  return answered(output, {
    ...call,
    usage,
    providerRequestId,
    ...costOf(assignment, usage, call.cached, null),
  })
}

const callTools = ({ vault, allowPrivate, ai, signal, now }: Tools): CallTools => ({
  vault,
  allowPrivate,
  ai,
  signal,
  now,
  answerBytesMax: LIMITS.providerAnswerBytes,
})

type About = Omit<CallEnded<never>, 'kind' | 'outcome'>
type Booked = About & Cost & { usage: Usage; providerRequestId: string | null }

/** What is too large for a job's row was bought all the same; asked again, it would be no smaller. */
const answered = (output: JobOutput, { usage, costMicros: cost, presumedMicros, ...about }: Booked): AttemptEnd => {
  const bytes = new TextEncoder().encode(JSON.stringify(output)).length
  const fits = bytes <= LIMITS.jobOutputBytes
  const message = `The answer has ${bytes} bytes, and a job keeps ${LIMITS.jobOutputBytes}.`
  return {
    ...EMPTY,
    output: fits ? output : null,
    fault: fits ? null : fault('artifact_failed', message, { source: 'switchyard' }),
    costMicros: cost,
    ...(presumedMicros === undefined ? {} : { presumedMicros }),
    usage,
    providerRequestId: about.providerRequestId,
    providerMs: about.providerMs,
    rates: about.rate,
  }
}

const failed = (outcome: Failed, { sent, providerMs, rate }: About): AttemptEnd => ({
  ...EMPTY,
  fault: faultOf(outcome),
  costMicros: outcome.costMicros ?? (!sent || FAULT_TABLE[outcome.code].bought === 'nothing' ? 0 : null),
  providerRequestId: outcome.providerRequestId ?? null,
  providerMs,
  rates: rate,
  // Limits in tokens were charged for what was never sent.
  ...(sent ? {} : { usage: usageOf({}) }),
})

const EMPTY = {
  output: null,
  fault: null,
  costMicros: null,
  providerRequestId: null,
  providerMs: 0,
  storeMs: 0,
  resume: null,
} satisfies AttemptEnd

type Cost = Pick<AttemptEnd, 'costMicros' | 'presumedMicros'>

const costOf = ({ price = null }: Assignment, usage: Usage, cached: boolean, serviceTier: string | null): Cost => {
  const cost = cached ? 0 : callCostMicros(price, usage, serviceTier)
  const presumed = cost === null ? presumedCallMicros(price, usage, serviceTier) : null
  return presumed === null ? { costMicros: cost } : { costMicros: cost, presumedMicros: presumed }
}

const OURS = new Set<Failed['code']>(['canceled', 'no_provider', 'deadline_exceeded', 'outcome_unknown'])

/** The field at fault as the job has it. */
const faultOf = ({ code, message, param, retryAfterMs }: Failed): Fault =>
  fault(code, message, {
    source: OURS.has(code) ? 'switchyard' : 'provider',
    ...(param === undefined ? {} : { param: `input.${param}` }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  })
