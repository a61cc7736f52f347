import type { AttemptFaultCode } from '../contract/fault.ts'

/** What became of a credential's attempts: counts and times, never a message, which could repeat a secret. */
export type CredentialUse = {
  attempts: number
  errors: number
  /** Sum of what is known. */
  costMicros: number
  lastUsedAtMs: number | null
  lastError: { code: AttemptFaultCode; atMs: number } | null
}

export const initialUse = (): CredentialUse => ({
  attempts: 0,
  errors: 0,
  costMicros: 0,
  lastUsedAtMs: null,
  lastError: null,
})

/** An attempt begins with it. */
export const recordBegin = (use: CredentialUse, now: number): CredentialUse => ({
  ...use,
  attempts: use.attempts + 1,
  lastUsedAtMs: now,
})

/** An attempt with it has ended: `code` is null where it ended well, `costMicros` where nobody knows the cost. */
export const recordEnd = (
  use: CredentialUse,
  code: AttemptFaultCode | null,
  costMicros: number | null,
  now: number,
): CredentialUse => ({
  ...use,
  errors: use.errors + (code === null ? 0 : 1),
  costMicros: use.costMicros + (costMicros ?? 0),
  lastError: code === null ? use.lastError : { code, atMs: now },
})
