import type { ChatInput } from '../contract/chat.ts'
import type { EmbedInput } from '../contract/embedding.ts'
import { fault } from '../contract/fault.ts'
import { usdToMicros } from '../contract/fields.ts'
import type { CallBound, OpenCall } from '../contract/foreground-rpc.ts'
import { bounding, expecting, refusalOf, type TextAsked } from '../job/text-judge.ts'
import { LIMITS } from '../limits.ts'
import type { Refusal } from '../providers/dialect.ts'
import { findChatModel, findEmbedModel, TEXT_PROVIDERS, textProviderOf } from '../providers/text-registry.ts'
import { Refused } from './refused.ts'

/** Which models a request may be served by, and what each is expected to use. */

type Own = {
  model: string
  stream?: boolean | null | undefined
  models?: string[] | undefined
  prefer?: 'cost' | 'speed' | 'quality' | undefined
  fallback?: boolean | undefined
  project?: string | undefined
  max_cost_usd?: number | undefined
  deadline_s?: number | undefined
  metadata?: Record<string, string> | undefined
}

export const planChat = (own: Own, input: ChatInput): OpenCall =>
  planOf(own, namesOf(own, 'chat'), { type: 'text.generate@1', input })

export const planEmbed = (own: Own, input: EmbedInput): OpenCall =>
  planOf(own, namesOf(own, 'embed'), { type: 'text.embed@1', input })

const planOf = (own: Own, names: readonly string[], asked: TextAsked): OpenCall => {
  const stranger = Object.keys(asked.input.provider_options ?? {}).find((name) => textProviderOf(name) === null)
  if (stranger !== undefined)
    throw new Refused(fault('invalid_request', `There is no provider "${stranger}".`, { param: 'provider_options' }))
  const candidates: OpenCall['candidates'] = []
  const skipped: OpenCall['skipped'] = []
  let first: Refusal | null = null
  const expect = expecting(asked)
  const bound = bounding(asked, own.stream === true)
  for (const model of names) {
    const refusal = refusalOf(asked, model)
    if (refusal === null) candidates.push({ model, expected: expect(model), ...boundedBy(bound(model)) })
    else {
      first ??= refusal
      skipped.push({ model, reason: `${refusal.param}: ${refusal.message}` })
    }
  }
  if (first && candidates.length === 0)
    throw new Refused(fault('invalid_request', first.message, { param: first.param }))
  const deadlineS = own.deadline_s ?? LIMITS.chatDeadlineDefaultSeconds
  return {
    type: asked.type,
    candidates,
    skipped,
    prefer: own.prefer ?? null,
    fallback: own.fallback ?? true,
    project: own.project ?? null,
    metadata: own.metadata ?? {},
    maxCostMicros: own.max_cost_usd === undefined ? null : usdToMicros(own.max_cost_usd),
    deadlineS,
    waitMs: Math.min(LIMITS.lineWaitMs, deadlineS * 1000),
  }
}

const boundedBy = (bound: CallBound | undefined) => (bound ? { bound } : {})

/** In the order asked for, each once. */
const namesOf = ({ model, models = [] }: Own, kind: 'chat' | 'embed'): string[] => {
  const find = kind === 'chat' ? findChatModel : findEmbedModel
  const names = [wholeName(model, kind), ...models]
  for (const [at, name] of names.entries()) {
    if (find(name) === null) throw new Refused(noModel(at === 0 ? 'model' : `models.${at - 1}`))
  }
  return [...new Set(names)]
}

/**
 * `provider/model` as it stands; a model's name alone where just one provider lists it. Models of servers of one's own
 * are listed nowhere, so they are always written with their provider.
 */
const wholeName = (name: string, kind: 'chat' | 'embed'): string => {
  if (TEXT_PROVIDERS.some(({ id }) => name.startsWith(`${id}/`))) return name
  const having = TEXT_PROVIDERS.filter(({ chatModels, embedModels }) =>
    (kind === 'chat' ? chatModels : embedModels).some(({ model }) => model === name),
  )
  const [only] = having
  if (only && having.length === 1) return `${only.id}/${name}`
  if (!only) throw new Refused(noModel('model'))
  const spelt = having.map(({ id }) => `${id}/${name}`).join(' or ')
  throw new Refused(fault('invalid_request', `Several providers have this model: write ${spelt}.`, { param: 'model' }))
}

/** The message does not repeat the name: it could be anything. */
const noModel = (param: string) => fault('not_found', 'There is no such model here: GET models lists them.', { param })
