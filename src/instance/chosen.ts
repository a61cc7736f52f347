import { ok, type Result, refuse } from '../contract/fault.ts'
import { providerIdOf } from '../contract/ids.ts'
import type { PriceSnapshot } from '../contract/price.ts'
import type { ModelHold } from '../core/call-bound.ts'
import { type Candidate, type Preference, rankCandidates, reasonOf } from '../core/choice.ts'
import type { Wishes } from './job-rows.ts'

/** The models of a job, as it is taken in with them. */
export type Chosen = Required<Pick<Wishes, 'models' | 'reason' | 'skipped' | 'prices'>> & Pick<Wishes, 'holds'>

type Looked = {
  candidates: Candidate[]
  prices: Record<string, PriceSnapshot>
  holds?: Record<string, ModelHold>
  skipped: { model: string; reason: string; param: string | null }[]
}

/** Not even the best of those that accept the input can be called. */
export const noProvider = (model: string) => {
  const provider = providerIdOf(model)
  return refuse('no_provider', `The provider "${provider}" is disabled or has no usable credential in this instance.`)
}

/** Those that accept the input, best first; otherwise the first reason why none does. `asked` are all in their order. */
export const choose = (
  { candidates, prices, holds, skipped }: Looked,
  asked: readonly string[],
  prefer: Preference,
  now: number,
): Result<Chosen> => {
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
  if (!best || best.readyAtMs === null) return noProvider(best?.model ?? '')
  const unusable = ranked.filter((candidate) => candidate.readyAtMs === null)
  return ok({
    models: ranked.map((candidate) => candidate.model),
    prices,
    ...(holds ? { holds } : {}),
    reason: reasonOf(prefer, best.model === asked[0]),
    skipped: [
      ...skipped.map(({ model, reason }) => ({ model, reason })),
      ...unusable.map(({ model }) => ({ model, reason: 'its provider is disabled or has no usable credential' })),
    ],
  })
}
