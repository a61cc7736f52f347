import type { AttemptFaultCode } from '../../../src/contract/fault.ts'
import { fault } from '../../../src/contract/fault.ts'
import type { CallEnd, CallNext, OpenCall, Opening } from '../../../src/contract/foreground-rpc.ts'
import { type AttemptRef, refText, type SealedSecret } from '../../../src/contract/rpc.ts'
import { decide } from '../../../src/core/outcome.ts'
import type { Foreground } from '../../../src/edge/foreground.ts'

/**
 * The Instance as a call on the line knows it: admits, hands out attempts on the candidates in their order, decides by the
 * core what follows a fault, and keeps a book of what it was told. A call that is closed twice with different words is a fault
 * of the caller, and throws.
 */
export type FakeForeground = Foreground & {
  readonly opened: OpenCall[]
  readonly attempts: Opening[]
  readonly closed: { ref: AttemptRef; end: CallEnd }[]
  readonly renewed: AttemptRef[][]
  /** What the next renewal is told to be over. */
  readonly over: AttemptRef[]
}

export type FakeOptions = {
  maxAttempts?: number
  /** Before a retry's attempt. */
  delayMs?: number
  baseUrls?: Record<string, string>
  secret?: string | null
  /** In place of `secret`, for a real vault. */
  sealed?: SealedSecret
  timeoutMs?: number
  deadlineMs?: number
  refuse?: ReturnType<typeof fault>
  /** Jobs that are over for the Instance while they still run here. */
  over?: Set<string>
  /** Before `close` answers; a test may hold it. */
  onClose?(end: CallEnd): Promise<void> | void
}

/** A micro for a token of the prompt, two for one of the answer. */
export const PRICE = JSON.stringify({ input: 1, output: 2 })

export const fakeForeground = (options: FakeOptions = {}): FakeForeground => {
  const { maxAttempts = 3, delayMs = 0, timeoutMs = 30_000, deadlineMs = 600_000 } = options
  const opened: OpenCall[] = []
  const attempts: Opening[] = []
  const closed: { ref: AttemptRef; end: CallEnd }[] = []
  const answered = new Map<string, { told: string; next: CallNext }>()
  const renewed: AttemptRef[][] = []
  const over: AttemptRef[] = []
  const faults: { model: string; code: AttemptFaultCode }[] = []

  /** An attempt that is told to have ended has no lease any more, as in the Instance. */
  const leased = new Set<string>()

  const begin = (model: string, wait: number): Opening => {
    const opening: Opening = {
      job: 'job_01JAAAAAAAAAAAAAAAAAAAAAAA',
      attempt: attempts.length + 1,
      model,
      baseUrl: options.baseUrls?.[model.split('/')[0] ?? ''] ?? 'https://provider.example/v1',
      timeoutMs,
      credential:
        options.secret === null
          ? null
          : {
              identity: 'main',
              sealed: options.sealed ?? { keyId: 'k', iv: 'i', ciphertext: options.secret ?? 'sk-secret' },
            },
      deadlineAtMs: Date.now() + deadlineMs,
      price: PRICE,
      delayMs: wait,
    }
    attempts.push(opening)
    leased.add(refText(opening))
    return opening
  }

  const follow = (call: OpenCall, model: string, end: CallEnd): CallNext => {
    const ended: CallNext = { next: 'end', fault: end.fault, costMicros: null }
    if (!end.fault || end.delivered || end.abandoned) return ended
    const code = end.fault.code as AttemptFaultCode
    const earlier = faults.filter((one) => one.model === model).map((one) => one.code)
    faults.push({ model, code })
    const tried = new Set(faults.map((one) => one.model))
    const decision = decide(
      {
        attempts: attempts.length,
        maxAttempts,
        deadlineAtMs: Date.now() + deadlineMs,
        fallback: call.fallback,
        onContentRejected: 'fail',
        onOutcomeUnknown: 'fail',
        earlier,
      },
      {
        code,
        retryAfterMs: end.fault.retryAfterMs,
        idempotent: false,
        resumable: false,
        otherCredential: false,
      },
      call.candidates.filter((one) => !tried.has(one.model)).map((one) => ({ model: one.model, readyAtMs: 0 })),
      Date.now(),
      0.5,
    )
    if (decision.next === 'fail') return ended
    const next = decision.next === 'fallback' ? decision.model : model
    return { next: 'attempt', opening: begin(next, decision.next === 'retry' ? delayMs : 0) }
  }

  const close = async (ref: AttemptRef, end: CallEnd): Promise<CallNext> => {
    leased.delete(refText(ref))
    await options.onClose?.(end)
    const told = JSON.stringify(end)
    const before = answered.get(refText(ref))
    if (before && before.told !== told) throw new Error(`${refText(ref)} was closed twice`)
    if (before) return before.next
    const model = attempts.find((one) => one.attempt === ref.attempt)?.model ?? ''
    closed.push({ ref, end })
    const call = opened.at(-1)
    if (!call) throw new Error('closed before it was opened')
    const next = follow(call, model, end)
    answered.set(refText(ref), { told, next })
    return next
  }

  return {
    opened,
    attempts,
    closed,
    renewed,
    over,
    open: async (call) => {
      opened.push(call)
      if (options.refuse) return { ok: false, fault: options.refuse }
      const [first] = call.candidates
      if (!first) return { ok: false, fault: fault('no_provider', 'No model.') }
      return {
        ok: true,
        value: {
          opening: begin(first.model, 0),
          quotas: [{ name: 'queue', limit: 10, windowS: null, left: 9, resetS: null }],
        },
      }
    },
    close,
    settle: async (ref, end) => {
      const next = await close(ref, end)
      if (next.next === 'attempt') throw new Error(`${refText(ref)} was settled, and something follows it`)
    },
    renew: async (refs) => {
      renewed.push(refs)
      return [...over.splice(0), ...refs.filter((ref) => options.over?.has(ref.job) || !leased.has(refText(ref)))]
    },
    cost: (_opening, usage) => usage.inputTokens + 2 * usage.outputTokens,
  }
}
