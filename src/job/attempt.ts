import { type Fault, fault } from '../contract/fault.ts'
import type { ImageArtifact, ImageInput, LeftOut } from '../contract/image.ts'
import type { Assignment, AttemptEnd, RateHint } from '../contract/rpc.ts'
import { FAULT_TABLE } from '../core/outcome.ts'
import type { Vault } from '../instance/vault.ts'
import { LIMITS } from '../limits.ts'
import type { AiBinding } from '../providers/binding-call.ts'
import { splitSecret } from '../providers/cloudflare-gateway.ts'
import { imagesViaGateway } from '../providers/gateway-images.ts'
import { createHttp, type Http } from '../providers/http.ts'
import type { Call, Done, Failed, ModelCard, Outcome, Provider } from '../providers/provider.ts'
import { findModel } from '../providers/registry.ts'
import { storeGenerated } from './images.ts'
import { pricingOf } from './pricing.ts'
import { isKeepable, type Resume, readResume, writeResume } from './resume.ts'
import { runTextAttempt } from './text-attempt.ts'
import type { Turnstile } from './turnstile.ts'
import { withdraw } from './withdraw.ts'

/** What an attempt needs of the world around it. */
export type Tools = {
  instance: string
  vault: Vault
  artifacts: R2Bucket
  allowPrivate: boolean
  /** Workers AI by the binding of this deployment, where it has one. */
  ai?: AiBinding | undefined
  signal: AbortSignal
  now(): number
  progress(progress: number, message: string, rate?: RateHint): void
  /** Makes the point reached durable. The output gate lets nothing out before it is. */
  keep(resume: string): void
  /** The same, unless the attempt's end is heard within a moment. */
  keepSoon(resume: string): void
  /** Pictures that are checked are held in memory: only so many at once. */
  checking: Turnstile
}

/** Over, or waiting for the provider: `parked` goes on from its resume when it is due. */
export type Step = { kind: 'ended'; end: AttemptEnd } | { kind: 'parked'; resume: string; dueAtMs: number }

/**
 * One attempt as a pipeline: open the credential, call or poll the provider, store what came, say how it ended. It never
 * throws and never decides: what follows is for the Instance.
 */
export const runAttempt = async (assignment: Assignment, resumeText: string | null, tools: Tools): Promise<Step> => {
  const startedAtMs = tools.now()
  try {
    if (assignment.type !== 'image.generate@1') return { kind: 'ended', end: await runTextAttempt(assignment, tools) }
    const resume = resumeText === null ? null : readResume(resumeText)
    if (resume?.stage === 'store') return await store(assignment, resume, tools)
    return await drive(assignment, resume, tools)
  } catch (error) {
    // A bug of ours: the request may have been sent, and nothing more is known.
    logBug(assignment, error)
    const unknown: Failed = {
      kind: 'fault',
      code: 'outcome_unknown',
      message: 'Switchyard failed while it drove the attempt.',
    }
    return ended(unknown, tools.now() - startedAtMs, 0)
  }
}

type Driven = Exclude<Resume, { stage: 'store' }>

const drive = async (assignment: Assignment, resume: Driven | null, tools: Tools): Promise<Step> => {
  const beganMs = tools.now()
  const startedAtMs = resume?.stage === 'poll' ? resume.startedAtMs : beganMs
  const opened = await openCall(assignment, tools)
  if ('code' in opened) {
    // What the provider has made is not given up for a key that may come back with the next deployment.
    return resume === null ? ended(opened, 0, 0) : parked(resume, tools.now() + LIMITS.backoffMaxMs)
  }
  if (resume && resume.account !== accountOf(assignment)) return ended(ACCOUNT_GONE, 0, 0)
  const { provider, card, call, http } = opened
  if (resume === null) tools.progress(0.02, `sent to ${provider.id}`)
  const found = await takeUp(provider, call, resume, http)
  // Nothing was begun: the attempt calls anew, and if this call is lost, it is this one that is looked for.
  const again = resume?.stage === 'reconcile' && found === null
  const from = again ? null : resume
  const calledMs = tools.now()
  if (again) tools.keep(writeResume(lookingFor(assignment, calledMs)))
  if (tools.signal.aborted && found === null) return ended(NOT_SENT, 0, 0)
  const outcome = found ?? (await provider.start(call, http))
  // What is polled stands in the lane's store: it is canceled by its checkpoint.
  if (tools.signal.aborted && from?.stage !== 'poll')
    await giveBack(
      assignment,
      from ?? { attempt: assignment.attempt, sinceMs: again ? calledMs : beganMs },
      outcome,
      tools,
    )
  if (outcome.kind === 'wait') {
    const elapsedMs = tools.now() - startedAtMs
    const progress = outcome.progress ?? guessProgress(elapsedMs, card.typicalMs)
    tools.progress(progress, `${provider.id} works on it`, outcome.rate)
    return parked(
      { stage: 'poll', checkpoint: outcome.checkpoint, startedAtMs, account: accountOf(assignment) },
      tools.now() + outcome.pollAfterMs,
    )
  }
  if (outcome.kind === 'fault') {
    const next = reconciling(provider, outcome, from, assignment, again ? calledMs : beganMs)
    if (next) return parked(next, tools.now() + (outcome.retryAfterMs ?? RECONCILE_MS))
    return ended(outcome, tools.now() - startedAtMs, 0, resumeOfFault(outcome, startedAtMs, assignment))
  }
  const next: Resume = {
    stage: 'store',
    done: outcome,
    startedAtMs,
    doneAtMs: tools.now(),
    madeBy: assignment.attempt,
    booked: false,
  }
  return store(assignment, next, tools)
}

type Opened = { provider: Provider; card: ModelCard; call: Call; http: Http }

/** The provider's adapter, the call with its secret in clear, and a way out bounded by the deadline. */
export const openCall = async (
  assignment: Assignment,
  tools: Pick<Tools, 'vault' | 'allowPrivate' | 'signal' | 'now'>,
): Promise<Opened | Failed> => {
  const found = findModel(assignment.model)
  if (!found) return { kind: 'fault', code: 'no_provider', message: 'This version knows no such model.' }
  const { credential, route } = assignment
  const sealed = credential && (await tools.vault.open(credential.sealed, credential.identity))
  if (sealed === null) {
    // Ours, not the provider's: the credential may be good, and is not switched off for it.
    return { kind: 'fault', code: 'no_provider', message: 'The credential cannot be opened with this master key.' }
  }
  const leftMs = Math.max(1, assignment.deadlineAtMs - tools.now())
  const http = createHttp({
    timeoutMs: Math.min(assignment.timeoutMs, leftMs),
    allowPrivate: tools.allowPrivate,
    signal: tools.signal,
  })
  const { token, secret } = splitSecret(sealed)
  const provider = route?.type === 'ai_gateway' ? imagesViaGateway(found.provider, token) : found.provider
  return { ...found, provider, call: callOf(assignment, found.card.model, secret, tools.now()), http }
}

const NOT_SENT: Failed = { kind: 'fault', code: 'canceled', message: 'The call was ended before it was sent.' }

/** A call of the attempt, or of an earlier one that it goes on from, and since when it may stand at the provider. */
type Made = { attempt: number; sinceMs: number }

/** Whoever ended the job has ended the call too: what it began at the provider is not left to run, and to be paid for. */
const giveBack = async (assignment: Assignment, made: Made, outcome: Outcome, tools: ToCancel): Promise<void> => {
  const signal = AbortSignal.timeout(LIMITS.cancelTimeoutMs)
  const opened = await openCall(assignment, { ...tools, signal })
  if ('code' in opened) return
  await withdraw({ ...opened, call: { ...opened.call, attempt: made.attempt } }, outcome, made.sinceMs, signal)
}

type ToCancel = Pick<Tools, 'vault' | 'allowPrivate' | 'now'>

/** The same of what is between two steps. Best effort: the job has ended, whatever the provider makes of it. */
export const giveBackParked = async (assignment: Assignment, resumeText: string, tools: ToCancel): Promise<void> => {
  const resume = readResume(resumeText)
  if (resume.stage === 'store' || resume.account !== accountOf(assignment)) return
  if (resume.stage === 'reconcile') return giveBack(assignment, resume, LOST, tools)
  const begun = {
    kind: 'wait',
    checkpoint: resume.checkpoint,
    pollAfterMs: 0,
    providerRequestId: null,
    progress: null,
  } as const
  await giveBack(assignment, { attempt: assignment.attempt, sinceMs: resume.startedAtMs }, begun, tools)
}

const LOST: Failed = { kind: 'fault', code: 'outcome_unknown', message: 'Its answer was lost.' }

/** Whose account a generation belongs to. */
const accountOf = ({ credential }: Assignment): string => credential?.identity ?? ''

/** What an earlier step began, or null where it began nothing, so that a new call pays once. */
const takeUp = async (provider: Provider, call: Call, resume: Driven | null, http: Http): Promise<Outcome | null> => {
  if (resume?.stage === 'poll') return provider.poll(call, resume.checkpoint, http)
  if (resume?.stage !== 'reconcile' || !provider.reconcile) return null
  return provider.reconcile({ ...call, attempt: resume.attempt }, http, resume.sinceMs)
}

/** Before a lost answer. */
const RECONCILE_MS = 1_000
const RECONCILE_TRIES = 10

/** A call whose answer was lost is looked for in the provider's own list, where it has one, before anyone gives up. */
const reconciling = (
  provider: Provider,
  failed: Failed,
  resume: Driven | null,
  assignment: Assignment,
  beganMs: number,
): Resume | null => {
  if (!provider.reconcile || (failed.code !== 'outcome_unknown' && failed.code !== 'provider_timeout')) return null
  if (resume === null) return lookingFor(assignment, beganMs)
  if (resume.stage !== 'reconcile' || failed.retryAfterMs === undefined || resume.tries >= RECONCILE_TRIES) return null
  return { ...resume, tries: resume.tries + 1 }
}

/** The attempt's own call, made at this time or later. */
const lookingFor = (assignment: Assignment, sinceMs: number): Resume => ({
  stage: 'reconcile',
  sinceMs,
  attempt: assignment.attempt,
  tries: 0,
  account: accountOf(assignment),
})

const parked = (resume: Resume, dueAtMs: number): Step => ({ kind: 'parked', resume: writeResume(resume), dueAtMs })

const store = async (
  assignment: Assignment,
  resume: Extract<Resume, { stage: 'store' }>,
  tools: Tools,
): Promise<Step> => {
  const providerMs = resume.booked ? 0 : resume.doneAtMs - resume.startedAtMs
  const storeStartedMs = tools.now()
  const text = writeResume(resume)
  if (isKeepable(text)) tools.keepSoon(text)
  const images: ImageArtifact[] = []
  const leftOut: LeftOut[] = []
  for (const [index, image] of resume.done.images.entries()) {
    // The provider withheld this one; the safe ones count.
    if (!image.safe) continue
    tools.progress(0.95, `storing image ${index + 1} of ${resume.done.images.length}`)
    const place = { instance: tools.instance, job: assignment.job, attempt: resume.madeBy, index }
    const stored = await storeGenerated(tools, place, image, assignment, resume.suspect)
    if (!stored.ok && stored.code === 'content_rejected') {
      // As one that the provider withheld: it does not spoil the others.
      leftOut.push({ index, code: stored.code, message: stored.message })
      continue
    }
    if (!stored.ok) {
      const again: Resume = { ...resume, booked: true, ...(stored.suspect ? { suspect: stored.suspect } : {}) }
      const code = tools.signal.aborted ? 'canceled' : stored.code
      const failed = failedOf(resume, { ...stored, code })
      const storeMs = tools.now() - storeStartedMs
      return ended(failed, providerMs, storeMs, stored.retryable && isKeepable(text) ? writeResume(again) : null)
    }
    images.push(stored.image)
  }
  const [blank] = leftOut
  if (blank && images.length === 0) {
    return ended(failedOf(resume, blank), providerMs, tools.now() - storeStartedMs)
  }
  const end: AttemptEnd = {
    output: { images, ...(blank ? { left_out: leftOut } : {}) },
    fault: null,
    costMicros: costOf(resume),
    providerRequestId: resume.done.providerRequestId,
    providerMs,
    storeMs: tools.now() - storeStartedMs,
    resume: null,
  }
  return { kind: 'ended', end }
}

/** What was made and bought, and could not be stored. */
const failedOf = (
  resume: { done: Done; booked: boolean },
  { code, message, param }: { code: Failed['code']; message: string; param?: string },
): Failed => ({
  kind: 'fault',
  code,
  message,
  ...(param ? { param } : {}),
  providerRequestId: resume.done.providerRequestId,
  costMicros: costOf(resume),
})

const costOf = (resume: { done: Done; booked: boolean }): number | null => (resume.booked ? 0 : resume.done.costMicros)

const callOf = (assignment: Assignment, model: string, secret: string, nowMs: number): Call => ({
  job: assignment.job,
  attempt: assignment.attempt,
  type: 'image.generate@1',
  model,
  input: JSON.parse(assignment.input) as ImageInput,
  baseUrl: assignment.baseUrl,
  secret,
  maxCostMicros: assignment.maxCostMicros,
  nowMs,
  ...pricingOf(assignment, nowMs),
  ...(assignment.webhookUrl ? { webhookUrl: assignment.webhookUrl } : {}),
})

const ended = (failed: Failed, providerMs: number, storeMs: number, resume: string | null = null): Step => ({
  kind: 'ended',
  end: {
    output: null,
    fault: faultOf(failed),
    costMicros:
      failed.costMicros === undefined ? (FAULT_TABLE[failed.code].bought === 'nothing' ? 0 : null) : failed.costMicros,
    providerRequestId: failed.providerRequestId ?? null,
    providerMs,
    storeMs,
    resume,
  },
})

/** Not bought anew: the generation may be there, where nobody can ask any more. */
const ACCOUNT_GONE: Failed = {
  kind: 'fault',
  code: 'outcome_unknown',
  message: 'The credential with which the call was made is gone.',
}

const OURS = new Set<Failed['code']>([
  'artifact_failed',
  'canceled',
  'no_provider',
  'budget_exceeded',
  'outcome_unknown',
])

const faultOf = (failed: Failed): Fault =>
  fault(failed.code, failed.message, {
    source: OURS.has(failed.code) ? 'switchyard' : 'provider',
    ...(failed.param === undefined ? {} : { param: failed.param }),
    ...(failed.retryAfterMs === undefined ? {} : { retryAfterMs: failed.retryAfterMs }),
  })

/** A fault that carries a checkpoint lets the next attempt go on polling instead of calling anew. */
const resumeOfFault = (failed: Failed, startedAtMs: number, assignment: Assignment): string | null =>
  failed.checkpoint === undefined
    ? null
    : writeResume({ stage: 'poll', checkpoint: failed.checkpoint, startedAtMs, account: accountOf(assignment) })

/** Where the provider tells no progress: the share of a usual run that has passed, never quite the whole. */
const guessProgress = (elapsedMs: number, typicalMs: number): number =>
  Math.round(Math.min(0.9, 0.05 + (0.85 * elapsedMs) / typicalMs) * 100) / 100

const logBug = (assignment: Assignment, error: unknown): void => {
  const { name, stack } = error instanceof Error ? error : { name: 'unknown', stack: '' }
  // Not the message: it could repeat the input.
  const where = stack?.split('\n').slice(1, 4).join(' ').slice(0, 500)
  console.error(
    JSON.stringify({
      level: 'error',
      event: 'attempt.bug',
      job: assignment.job,
      attempt: assignment.attempt,
      name,
      where,
    }),
  )
}
