import { ok, type Result, refuse } from '../contract/fault.ts'
import type { InstanceConfig } from '../contract/instance.ts'
import type { TextJobRequest } from '../contract/job.ts'
import { LIMITS } from '../limits.ts'
import { textProviderOf } from '../providers/text-registry.ts'
import type { Books } from './books.ts'
import { type Chosen, choose } from './chosen.ts'
import { isTextModel, textCandidatesFor } from './text-candidates.ts'

/**
 * The models of a text job, what it is expected to use on the first of them in tokens, and its input as it is kept; or the
 * field that keeps it from running here. `startMs` is when it may start: the prices of then count.
 */
export const planText = (
  request: TextJobRequest,
  config: InstanceConfig,
  books: Books,
  now: number,
  startMs: number,
): Result<{ chosen: Chosen; tokens: number; input: string }> => {
  const input = JSON.stringify(request.input)
  if (new TextEncoder().encode(input).length > LIMITS.jobInputBytes) {
    const message = `The input is larger than ${LIMITS.jobInputBytes} bytes.`
    return refuse('payload_too_large', message, { param: 'input' })
  }
  const asked = request.models ?? defaultModels(request.type, config)
  if (!asked) {
    const name = request.type.slice(0, -'@1'.length)
    return refuse('invalid_request', `models is required: this instance has no default_models for ${name}.`, {
      param: 'models',
    })
  }
  const unknown = asked.findIndex((name) => !isTextModel(request.type, name))
  if (unknown !== -1)
    return refuse('invalid_request', `There is no model "${asked[unknown]}" for ${request.type}.`, {
      param: `models.${unknown}`,
    })
  const stranger = Object.keys(request.input.provider_options ?? {}).find((name) => !textProviderOf(name))
  if (stranger !== undefined) {
    return refuse('invalid_request', `There is no provider "${stranger}".`, { param: 'input.provider_options' })
  }
  const looked = textCandidatesFor(books, [...new Set(asked)], request, now, startMs)
  const chosen = choose(looked, asked, request.prefer ?? null, now)
  if (!chosen.ok) return chosen
  return ok({ chosen: chosen.value, tokens: looked.tokens[chosen.value.models[0] ?? ''] ?? 0, input })
}

/** Which model a text is for is nobody's guess: without a name there is none. */
const defaultModels = (type: TextJobRequest['type'], { default_models: models }: InstanceConfig) =>
  type === 'text.generate@1' ? models?.['text.generate'] : models?.['text.embed']
