import type { Json } from '../contract/fields.ts'
import type { Done } from '../providers/provider.ts'

/**
 * How far an attempt has come, as JSON that any process can go on from:
 * `poll`  – the provider works on it; ask again with the checkpoint.
 * `reconcile` – a call's answer was lost; the provider's own list is asked what became of it. `attempt` made the call.
 * Both can only go on in the `account`, the identity of the credential, in which they began: another knows nothing of it.
 * `store` – the provider is done and paid; its images are still to be stored. `madeBy` is the attempt that made them, so
 *           that a repeated upload meets its own objects; `booked` says that their cost stands with an earlier attempt;
 *           `suspect` is the SHA-256 of a picture that was bad on arrival: the same bytes again, and it is the provider's.
 */
export type Resume =
  | { stage: 'poll'; checkpoint: Json; startedAtMs: number; account: string }
  | { stage: 'reconcile'; sinceMs: number; attempt: number; tries: number; account: string }
  | {
      stage: 'store'
      done: Done
      startedAtMs: number
      doneAtMs: number
      madeBy: number
      booked: boolean
      suspect?: string
    }

export const writeResume = (resume: Resume): string => JSON.stringify(resume)
export const readResume = (text: string): Resume => JSON.parse(text) as Resume

/** A row of the platform's database holds 2 MB; images that come as bytes do not fit, and are stored at once instead. */
const LARGEST_RESUME = 512 * 1024
export const isKeepable = (text: string): boolean => text.length <= LARGEST_RESUME
