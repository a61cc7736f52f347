import { ok, type Result, refuse } from '../contract/fault.ts'
import { usdToMicros } from '../contract/fields.ts'
import { providerIdOf } from '../contract/ids.ts'
import type { ImageInput } from '../contract/image.ts'
import type { InstanceConfig } from '../contract/instance.ts'
import type { ImageJobRequest, JobRequest } from '../contract/job.ts'
import { refusesChecks } from '../core/image-checks.ts'
import { LIMITS } from '../limits.ts'
import { findModel, modelsFor, providerOf } from '../providers/registry.ts'
import { candidatesFor } from './availability.ts'
import type { Books } from './books.ts'
import { type Chosen, choose } from './chosen.ts'
import type { NewJob, Wishes } from './job-rows.ts'
import { planText } from './text-submission.ts'

/** What stands around a request: who asks, when, under which name the job will go. */
export type Origin = { id: string; requestId: string; project: string | null; now: number; batch?: string }

/** Turns a checked request into a job's row, or says which field keeps it from running here. */
export const planJob = (request: JobRequest, config: InstanceConfig, books: Books, origin: Origin): Result<NewJob> => {
  const dueAtMs = request.not_before ? Date.parse(request.not_before) : null
  const startMs = Math.max(origin.now, dueAtMs ?? 0)
  const planned =
    request.type === 'image.generate@1'
      ? planImage(request, config, books, origin.now, startMs)
      : planText(request, config, books, origin.now, startMs)
  if (!planned.ok) return planned
  const { chosen, tokens, input } = planned.value
  const [model = ''] = chosen.models
  const isLater = dueAtMs !== null && dueAtMs > origin.now
  if (dueAtMs !== null && dueAtMs > origin.now + LIMITS.notBeforeMaxMs) {
    return refuse('invalid_request', 'not_before is too far in the future.', { param: 'not_before' })
  }
  const readyAtMs = isLater ? dueAtMs : origin.now
  const deadlineMs = (request.deadline_s ?? LIMITS.deadlineDefaultSeconds) * 1000
  const wishes: Wishes = {
    ...chosen,
    fallback: request.fallback ?? true,
    maxAttempts: request.max_attempts ?? LIMITS.attemptsDefault,
    onContentRejected: request.on_content_rejected ?? 'fail',
    onOutcomeUnknown: request.on_outcome_unknown ?? 'fail',
    maxCostMicros: typeof request.max_cost_usd === 'number' ? usdToMicros(request.max_cost_usd) : null,
    prefer: request.prefer ?? null,
    deadlineMs,
  }
  return ok({
    id: origin.id,
    status: isLater ? 'scheduled' : 'queued',
    due_at_ms: isLater ? dueAtMs : null,
    provider: providerIdOf(model),
    model,
    tag: 0,
    queued_at_ms: readyAtMs,
    tokens,
    deadline_at_ms: readyAtMs + deadlineMs,
    created_at_ms: origin.now,
    type: request.type,
    project: origin.project,
    priority: request.priority ?? LIMITS.priorityDefault,
    request_id: origin.requestId,
    input,
    wishes: JSON.stringify(wishes),
    metadata: JSON.stringify(request.metadata ?? {}),
    batch: origin.batch ?? null,
  })
}

const planImage = (
  request: ImageJobRequest,
  config: InstanceConfig,
  books: Books,
  now: number,
  startMs: number,
): ReturnType<typeof planText> => {
  const tokens = estimateTokens(request.input.prompt)
  const chosen = chooseModels(request, config, books, tokens, now, startMs)
  if (!chosen.ok) return chosen
  const input = withDefaultChecks(request.input, config)
  const unchecked = refusesChecks(input)
  if (unchecked)
    return refuse('invalid_request', `${unchecked.param}: ${unchecked.message}.`, { param: unchecked.param })
  return ok({ chosen: chosen.value, tokens, input: JSON.stringify(input) })
}

/** What the instance wants of every picture stands in the job's own input, so that it shows what was checked. */
const withDefaultChecks = (input: ImageInput, config: InstanceConfig): ImageInput => {
  const checks = config.default_checks?.['image.generate']
  return input.checks === undefined && checks !== undefined ? { ...input, checks } : input
}

/** For limits in tokens: four bytes of UTF-8 each, the usual rule of thumb, rounded up. */
const estimateTokens = (text: string): number => Math.ceil(new TextEncoder().encode(text).length / 4)

/** The models that accept the input, best first; otherwise the first reason why none does. */
const chooseModels = (
  request: ImageJobRequest,
  config: InstanceConfig,
  books: Books,
  tokens: number,
  now: number,
  startMs: number,
): Result<Chosen> => {
  const prefer = request.prefer ?? null
  const asked = request.models ?? config.default_models?.['image.generate'] ?? defaultModels(prefer !== null)
  const unknown = asked.findIndex((name) => !findModel(name))
  if (unknown !== -1)
    return refuse('invalid_request', `There is no model "${asked[unknown]}".`, { param: `models.${unknown}` })
  const stranger = Object.keys(request.input.provider_options ?? {}).find((name) => !providerOf(name))
  if (stranger !== undefined) {
    return refuse('invalid_request', `There is no provider "${stranger}".`, { param: 'input.provider_options' })
  }
  return choose(candidatesFor(books, asked, request.input, tokens, now, startMs), asked, prefer, now)
}

/** With a preference all models compete; without one the first of the registry serves. */
const defaultModels = (all: boolean): string[] => {
  const names = modelsFor('image.generate@1').map(({ provider, card }) => `${provider.id}/${card.model}`)
  return all ? names : names.slice(0, 1)
}
