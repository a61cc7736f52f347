import { ok, type Result, refuse } from '../contract/fault.ts'
import { usdToMicros } from '../contract/fields.ts'
import type { InstanceConfig } from '../contract/instance.ts'
import type { JobRequest } from '../contract/job.ts'
import { rankOf } from '../core/order.ts'
import { LIMITS } from '../limits.ts'
import { findModel, modelsFor } from '../providers/registry.ts'
import type { Books } from './books.ts'
import type { NewJob, Wishes } from './job-store.ts'

/** What stands around a request: who asks, when, under which name the job will go. */
export type Origin = { id: string; requestId: string; project: string | null; now: number }

/** Turns a checked request into a job's row, or says which field keeps it from running here. */
export const planJob = (request: JobRequest, config: InstanceConfig, books: Books, origin: Origin): Result<NewJob> => {
  const candidates = request.models ?? config.default_models?.['image.generate'] ?? defaultModels()
  const serving = chooseModels(candidates, request, books)
  if (!serving.ok) return serving
  const model = serving.value[0]
  if (!model) return refuse('no_provider', 'No model can run this job.')
  const dueAtMs = request.not_before ? Date.parse(request.not_before) : null
  const isLater = dueAtMs !== null && dueAtMs > origin.now
  if (dueAtMs !== null && dueAtMs > origin.now + LIMITS.notBeforeMaxMs) {
    return refuse('invalid_request', 'not_before is too far in the future.', { param: 'not_before' })
  }
  const readyAtMs = isLater ? dueAtMs : origin.now
  const wishes: Wishes = {
    models: serving.value,
    fallback: request.fallback ?? true,
    maxAttempts: request.max_attempts ?? LIMITS.attemptsDefault,
    onContentRejected: request.on_content_rejected ?? 'fail',
    onOutcomeUnknown: request.on_outcome_unknown ?? 'fail',
    maxCostMicros: typeof request.max_cost_usd === 'number' ? usdToMicros(request.max_cost_usd) : null,
    prefer: request.prefer ?? null,
  }
  const priority = request.priority ?? LIMITS.priorityDefault
  return ok({
    id: origin.id,
    status: isLater ? 'scheduled' : 'queued',
    due_at_ms: isLater ? dueAtMs : null,
    provider: model.split('/')[0] ?? model,
    model,
    rank: rankOf(readyAtMs, priority),
    deadline_at_ms: readyAtMs + (request.deadline_s ?? LIMITS.deadlineDefaultSeconds) * 1000,
    created_at_ms: origin.now,
    type: request.type,
    project: origin.project,
    priority,
    request_id: origin.requestId,
    input: JSON.stringify(request.input),
    wishes: JSON.stringify(wishes),
    metadata: JSON.stringify(request.metadata ?? {}),
  })
}

const defaultModels = (): string[] =>
  modelsFor('image.generate@1')
    .slice(0, 1)
    .map(({ provider, card }) => `${provider.id}/${card.model}`)

/** The models that know the input and have a credential, in the order asked for; otherwise the first reason why not. */
const chooseModels = (candidates: string[], request: JobRequest, books: Books): Result<string[]> => {
  let reason: Result<string[]> | null = null
  const serving = candidates.filter((name, i) => {
    const found = findModel(name)
    if (!found) {
      reason ??= refuse('invalid_request', `There is no model "${name}".`, { param: `models.${i}` })
      return false
    }
    const refusal = found.provider.refuses(found.card.model, request.input)
    if (refusal) {
      reason ??= refuse('invalid_request', `${name}: ${refusal.message}`, { param: refusal.param })
      return false
    }
    if (books.setups.get(found.provider.id)?.rules.enabled) return true
    reason ??= refuse(
      'no_provider',
      `The provider "${found.provider.id}" is disabled or has no credential in this instance.`,
    )
    return false
  })
  return serving.length > 0 ? ok(serving) : (reason ?? refuse('no_provider', 'No model can run this job.'))
}
