import type { Http } from '../providers/http.ts'
import type { Call, Outcome, Provider } from '../providers/provider.ts'

/** Between two looks into the provider's list, in ms: what was sent a moment ago may not stand there yet. */
const LOOK_AGAIN_MS = [250, 500, 1_000, 2_000]

/**
 * A job has ended while its call was under way: what the provider has begun by it is canceled, and looked for before where its
 * answer was not waited for. Best effort until `signal` ends it, and nothing where the provider can do neither.
 */
export const withdraw = async (
  { provider, call, http }: { provider: Provider; call: Call; http: Http },
  outcome: Outcome,
  sinceMs: number,
  signal: AbortSignal,
): Promise<void> => {
  if (!provider.cancel) return
  let begun: Outcome | null = outcome
  for (let looks = 0; provider.reconcile && begun && mayBeThere(begun) && !signal.aborted; looks += 1) {
    await pause(LOOK_AGAIN_MS[looks] ?? 2_000)
    begun = await provider.reconcile(call, http, sinceMs)
  }
  if (begun?.kind === 'wait') await provider.cancel(call, begun.checkpoint, http)
}

const mayBeThere = (outcome: Outcome): boolean =>
  outcome.kind === 'fault' && ['canceled', 'outcome_unknown', 'provider_timeout'].includes(outcome.code)

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
