import type { ChatInput } from '../contract/chat.ts'
import type { EmbedInput } from '../contract/embedding.ts'
import { fault } from '../contract/fault.ts'
import { usdToMicros } from '../contract/fields.ts'
import type { OpenCall } from '../contract/foreground-rpc.ts'
import { expectedOfChat, expectedOfEmbed, promptTokensOf } from '../core/expected.ts'
import { LIMITS } from '../limits.ts'
import type { Refusal } from '../providers/dialect.ts'
import { findChatModel, findEmbedModel, TEXT_PROVIDERS } from '../providers/text-registry.ts'
import { Refused } from './refused.ts'

/** Which models a request may be served by, and what each is expected to use. */

type Own = {
  model: string
  models?: string[] | undefined
  prefer?: 'cost' | 'speed' | 'quality' | undefined
  fallback?: boolean | undefined
  project?: string | undefined
  max_cost_usd?: number | undefined
  deadline_s?: number | undefined
  metadata?: Record<string, string> | undefined
}

export const planChat = (own: Own, input: ChatInput): OpenCall => {
  const promptTokens = promptTokensOf(input)
  return planOf(own, 'text.generate@1', namesOf(own, 'chat'), (name) => {
    const { provider, card } = findChatModel(name) ?? unknown(name)
    const refusal = provider.chat?.refuses(card, input)
    return refusal ? { refusal } : { expected: expectedOfChat(input, promptTokens, card.maxOutputTokens) }
  })
}

export const planEmbed = (own: Own, input: EmbedInput): OpenCall => {
  const expected = expectedOfEmbed(input)
  return planOf(own, 'text.embed@1', namesOf(own, 'embed'), (name) => {
    const { provider, card } = findEmbedModel(name) ?? unknown(name)
    const refusal = provider.embed?.refuses(card, input)
    return refusal ? { refusal } : { expected }
  })
}

type Judged = { refusal: Refusal } | { expected: OpenCall['candidates'][number]['expected'] }

const planOf = (
  own: Own,
  type: OpenCall['type'],
  names: readonly string[],
  judge: (name: string) => Judged,
): OpenCall => {
  const candidates: OpenCall['candidates'] = []
  const skipped: OpenCall['skipped'] = []
  let first: Refusal | null = null
  for (const model of names) {
    const judged = judge(model)
    if ('expected' in judged) candidates.push({ model, expected: judged.expected })
    else {
      first ??= judged.refusal
      skipped.push({ model, reason: `${judged.refusal.param}: ${judged.refusal.message}` })
    }
  }
  if (first && candidates.length === 0)
    throw new Refused(fault('invalid_request', first.message, { param: first.param }))
  const deadlineS = own.deadline_s ?? LIMITS.chatDeadlineDefaultSeconds
  return {
    type,
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

const unknown = (name: string): never => {
  throw new Error(`a model was found and is gone: ${name.length} characters`)
}
