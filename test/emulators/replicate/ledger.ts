import { type Handed, keep, maxJobs } from '../base/jobs/ledger.ts'
import { count, newest, Sights } from '../base/tally.ts'
import type { Faults } from '../ideogram/faults.ts'
import type { Model, Size } from './models.ts'

export type Status = 'starting' | 'processing' | 'succeeded' | 'failed' | 'canceled' | 'aborted'

/** What a test may ask about one prediction. Times are Unix milliseconds on the emulator's clock. */
export interface PredictionRecord extends Handed {
  id: string
  model: string
  /** As it was sent, directives included. */
  prompt: string
  input: Record<string, unknown>
  images: number
  createdAt: number
  startedAt: number | null
  completedAt: number | null
  status: Status
  error: string | null
  /** USD millionths: the price of what was made. */
  costUsdMicros: number
}

export interface ReplicateStats {
  /** Requests to the provider's own paths. */
  requests: number
  /** Predictions made. */
  created: number
  /** Predictions that were let through to their model: all but those whose input it turned away. */
  accepted: number
  completed: number
  failed: number
  canceled: number
  billed_usd_micros: number
  /** Predictions running now, over all tokens, and the most there ever were. */
  inflight: number
  peakInflight: number
  /** Creates turned away, by HTTP status; `cut` counts connections cut before acceptance. */
  rejected: Record<string, number>
  polls: number
  lists: number
  downloads: number
  /** How often each directive took part in a request. */
  faults: Record<string, number>
  /** Oldest first; the oldest are dropped above 20,000 and the totals keep counting them. */
  predictions: PredictionRecord[]
}

export interface OutputFile {
  id: string
  index: number
  prediction: Prediction
  downloads: number
}

export interface Prediction {
  record: PredictionRecord
  model: Model
  /** The model was named by version, which the answers then show. */
  pinned: boolean
  apiKey: string
  /** The prompt without its directives. */
  text: string
  size: Size
  seed: number
  webhook: string | null
  events: readonly string[]
  faults: Faults
  files: OutputFile[]
  /** Unix milliseconds of `Cancel-After`. */
  deadlineAt: number | null
  /** Resolves when the status is final. */
  ended: Promise<void>
  end(): void
}

/** Remembers what was made and what it cost, in bounded room. */
export class Ledger {
  readonly predictions = new Map<string, Prediction>()
  readonly files = new Map<string, OutputFile>()
  readonly sights = new Sights(maxJobs)
  readonly totals: Omit<ReplicateStats, 'predictions'> = {
    requests: 0,
    created: 0,
    accepted: 0,
    completed: 0,
    failed: 0,
    canceled: 0,
    billed_usd_micros: 0,
    inflight: 0,
    peakInflight: 0,
    rejected: {},
    polls: 0,
    lists: 0,
    downloads: 0,
    faults: {},
  }

  add(prediction: Prediction): void {
    const { totals } = this
    totals.created += 1
    totals.inflight += 1
    totals.peakInflight = Math.max(totals.peakInflight, totals.inflight)
    if (!prediction.faults.has('reject')) totals.accepted += 1
    keep(this.predictions, this.files, prediction, ({ files }) => files)
  }

  /** Makes the status final, once: whatever comes later is too late. */
  settle(prediction: Prediction, status: Status, now: number, error: string | null = null): void {
    const { record, model } = prediction
    if (record.completedAt !== null) return
    const { totals } = this
    Object.assign(record, { status, completedAt: now, error })
    totals.inflight -= 1
    if (status === 'succeeded') {
      totals.completed += 1
      record.costUsdMicros = model.microsPerImage * record.images
      totals.billed_usd_micros += record.costUsdMicros
    } else if (status === 'failed') totals.failed += 1
    else totals.canceled += 1
    prediction.end()
  }

  countRejected(status: number | 'cut'): void {
    count(this.totals.rejected, status)
  }

  countFaults(faults: Faults): void {
    for (const name of faults.keys()) count(this.totals.faults, name)
  }

  /** A copy, with at most the newest `limit` predictions. */
  stats(limit = maxJobs): ReplicateStats {
    const { rejected, faults, ...totals } = this.totals
    return {
      ...totals,
      rejected: { ...rejected },
      faults: { ...faults },
      predictions: newest([...this.predictions.values()], limit).map(({ record }) => ({ ...record })),
    }
  }
}
