import { ok, type Result, refuse } from '../contract/fault.ts'
import { usdToMicros } from '../contract/fields.ts'
import type { ImageInput } from '../contract/image.ts'
import type { InstanceConfig } from '../contract/instance.ts'
import type { JobRequest } from '../contract/job.ts'
import { rankCandidates, reasonOf } from '../core/choice.ts'
import { refusesChecks } from '../core/image-checks.ts'
import { LIMITS } from '../limits.ts'
import { findModel, modelsFor, providerOf } from '../providers/registry.ts'
import { candidatesFor } from './availability.ts'
import type { Books } from './books.ts'
import type { NewJob, Wishes } from './job-rows.ts'

/** What stands around a request: who asks, when, under which name the job will go. */
export type Origin = { id: string; requestId: string; project: string | null; now: number; batch?: string }

/** Turns a checked request into a job's row, or says which field keeps it from running here. */
export const planJob = (request: JobRequest, config: InstanceConfig, books: Books, origin: Origin): Result<NewJob> => {
  const tokens = estimateTokens(request.input.prompt)
  const dueAtMs = request.not_before ? Date.parse(request.not_before) : null
  const chosen = chooseModels(request, config, books, tokens, origin.now, Math.max(origin.now, dueAtMs ?? 0))
  if (!chosen.ok) return chosen
  const [model = ''] = chosen.value.models
  const input = withDefaultChecks(request.input, config)
  const unchecked = refusesChecks(input)
  if (unchecked)
    return refuse('invalid_request', `${unchecked.param}: ${unchecked.message}.`, { param: unchecked.param })
  const isLater = dueAtMs !== null && dueAtMs > origin.now
  if (dueAtMs !== null && dueAtMs > origin.now + LIMITS.notBeforeMaxMs) {
    return refuse('invalid_request', 'not_before is too far in the future.', { param: 'not_before' })
  }
  const readyAtMs = isLater ? dueAtMs : origin.now
  const deadlineMs = (request.deadline_s ?? LIMITS.deadlineDefaultSeconds) * 1000
  const wishes: Wishes = {
    ...chosen.value,
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
    provider: model.split('/')[0] ?? model,
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
    input: JSON.stringify(input),
    wishes: JSON.stringify(wishes),
    metadata: JSON.stringify(request.metadata ?? {}),
    batch: origin.batch ?? null,
  })
}

/** What the instance wants of every picture stands in the job's own input, so that it shows what was checked. */
const withDefaultChecks = (input: ImageInput, config: InstanceConfig): ImageInput => {
  const checks = config.default_checks?.['image.generate']
  return input.checks === undefined && checks !== undefined ? { ...input, checks } : input
}

/** For limits in tokens: four bytes of UTF-8 each, the usual rule of thumb, rounded up. */
const estimateTokens = (text: string): number => Math.ceil(new TextEncoder().encode(text).length / 4)

type Chosen = Pick<Wishes, 'models' | 'reason' | 'skipped' | 'prices'>

/** The models that accept the input, best first; otherwise the first reason why none does. */
const chooseModels = (
  request: JobRequest,
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
  const { candidates, prices, skipped } = candidatesFor(books, asked, request.input, tokens, now, startMs)
  const ranked = rankCandidates(candidates, prefer, now)
  const [best] = ranked
  const [first] = skipped
  if (!best && first) {
    return refuse(
      'invalid_request',
      `${first.model}: ${first.reason}`,
      first.param === null ? {} : { param: first.param },
    )
  }
  if (!best || best.readyAtMs === null) {
    const provider = (best?.model ?? '').split('/')[0]
    return refuse('no_provider', `The provider "${provider}" is disabled or has no usable credential in this instance.`)
  }
  const unusable = ranked.filter((candidate) => candidate.readyAtMs === null)
  return ok({
    models: ranked.map((candidate) => candidate.model),
    prices,
    reason: reasonOf(prefer, best.model === asked[0]),
    skipped: [
      ...skipped.map(({ model, reason }) => ({ model, reason })),
      ...unusable.map(({ model }) => ({ model, reason: 'its provider is disabled or has no usable credential' })),
    ],
  })
}

/** With a preference all models compete; without one the first of the registry serves. */
const defaultModels = (all: boolean): string[] => {
  const names = modelsFor('image.generate@1').map(({ provider, card }) => `${provider.id}/${card.model}`)
  return all ? names : names.slice(0, 1)
}
