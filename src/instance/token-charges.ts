import { type Limiter, tokenCharge } from '../core/admission.ts'
import { TokenReturns } from '../core/token-returns.ts'

/** The number of a charge at its limiter, and what one of its tokens put off there. */
type Charge = { number: number; msPerToken: number }

/**
 * What each running job was charged with at limits in tokens. A call is charged when it begins with what it is expected to
 * use, and only its end tells what it did use: until then the charge is kept here, so that the rest can go back to the
 * limiters that it was taken from. In memory only: after a restart or a rollback, calls under way give nothing back.
 */
export class TokenCharges {
  /** What calls may give back, by limiter. */
  readonly #returns = new Map<string, TokenReturns>()
  /** By job and limiter. */
  readonly #charges = new Map<string, Map<string, Charge>>()

  /** Tokens are taken for a job's call. `limiter` is as it was before they were. */
  charge(job: string, limiter: Limiter, now: number): void {
    const charge = tokenCharge(limiter, now)
    if (!charge) return
    const returns = this.#returns.get(limiter.name) ?? new TokenReturns()
    this.#returns.set(limiter.name, returns)
    const ofJob = this.#charges.get(job) ?? new Map<string, Charge>()
    this.#charges.set(job, ofJob)
    ofJob.set(limiter.name, { number: returns.charged(charge.missingMs), msPerToken: charge.msPerToken })
  }

  /** What comes back to a limiter of tokens that a running job was charged with and did not use, in ms; once for each job. */
  giveBack(job: string, limiter: string, tokens: number): number {
    const charge = this.#charges.get(job)?.get(limiter)
    if (!charge) return 0
    this.#charges.get(job)?.delete(limiter)
    return this.#returns.get(limiter)?.giveBack(charge.number, tokens * charge.msPerToken) ?? 0
  }

  /** The job runs no more. */
  forgetJob(job: string): void {
    this.#charges.delete(job)
  }

  /** The limiter is gone, or counts otherwise: calls under way give nothing back to it. */
  forgetLimiter(limiter: string): void {
    this.#returns.delete(limiter)
    for (const ofJob of this.#charges.values()) ofJob.delete(limiter)
  }

  clear(): void {
    this.#returns.clear()
    this.#charges.clear()
  }
}
