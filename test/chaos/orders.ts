import { seededRandom } from '../emulators/random.ts'

/** One job of a run: what is posted, when, and whether somebody changes his mind. */
export type Order = {
  body: { input: { prompt: string; [field: string]: unknown }; [field: string]: unknown }
  /** With it a submit whose answer was lost in a crash is repeated without making a second job. */
  idempotencyKey: string
  submitAfterMs: number
  /** Null where nobody cancels. `since` the submit's answer, which mostly finds it waiting, or the start of the job. */
  cancel: { since: 'submit' | 'start'; afterMs: number } | null
}

const IDEOGRAM = 'ideogram/ideogram-3'
const REPLICATE = 'replicate/black-forest-labs/flux-schnell'
const CHOICES = [
  [IDEOGRAM],
  [REPLICATE],
  [IDEOGRAM, REPLICATE],
  [REPLICATE, IDEOGRAM],
  ['ideogram/ideogram-4', 'replicate/black-forest-labs/flux-dev'],
  ['replicate/black-forest-labs/flux-dev', 'ideogram/ideogram-4', REPLICATE],
]
const PROJECTS = ['content-forge', 'catalogue', 'sandbox', null]
/** How long the submits are spread over, per job. */
const SPREAD_MS = 40
const CANCELED_SHARE = 0.1
const CANCEL_WITHIN_MS = { submit: 6_000, start: 1_500 }

/** The same seed gives the same jobs, in the same order. */
export const ordersOf = ({ jobs, seed, deadlineS }: { jobs: number; seed: number; deadlineS: number }): Order[] => {
  const random = seededRandom(seed)
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T
  const orders = Array.from({ length: jobs }, (_, index): Order => {
    const project = pick(PROJECTS)
    const since = random() < 0.5 ? 'submit' : 'start'
    const synchronous = random() < 0.1
    return {
      body: {
        type: 'image.generate',
        models: pick(CHOICES),
        fallback: random() < 0.8,
        priority: Math.floor(random() * 10),
        deadline_s: deadlineS,
        max_attempts: 2 + Math.floor(random() * 4),
        on_content_rejected: random() < 0.3 ? 'fallback' : 'fail',
        on_outcome_unknown: random() < 0.3 ? 'retry' : 'fail',
        ...(project === null ? {} : { project }),
        input: {
          // The prompt is how an accepted generation is traced back to its job.
          prompt: `picture ${index} of the run with seed ${seed}`,
          count: random() < 0.1 ? 2 : 1,
          ...(synchronous ? { provider_options: { ideogram: { mode: 'sync' }, replicate: { wait: 5 } } } : {}),
        },
      },
      idempotencyKey: `chaos-${seed}-${index}`,
      submitAfterMs: Math.floor(random() * SPREAD_MS * jobs),
      cancel: random() < CANCELED_SHARE ? { since, afterMs: Math.floor(random() * CANCEL_WITHIN_MS[since]) } : null,
    }
  })
  return orders.sort((a, b) => a.submitAfterMs - b.submitAfterMs)
}
