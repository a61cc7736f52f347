import type { LedgerView } from '../contract/budget.ts'
import { microsToUsd } from '../contract/fields.ts'
import { addSums, bookedMicros, noSums, projectOf, type Sums, scopesOf } from '../core/ledger.ts'
import { LIMITS } from '../limits.ts'
import { heldMicros } from './accounts.ts'
import { budgetView } from './budgets.ts'
import { ALL_DAYS } from './ledger-store.ts'
import type { Parts } from './parts.ts'
import { isoTime } from './views.ts'

/** What the rows say of one scope, and what the counters do. */
type Evidence = {
  /** Sums over the lines of the ledger, and over the rows of jobs that have not ended. */
  lines: Sums
  held: number
  /** The counters on disk: their sum since ever, and the same added up from their days. */
  total: Sums
  days: Sums
}

/**
 * The proof of the books. Two independent witnesses, the rows of ledger and jobs on one side and the counters by which
 * admission decides on the other, are asked for the same sums. Nothing is repaired here.
 */
export const proveBooks = (parts: Parts, now: number): LedgerView => {
  const evidence = gather(parts)
  const scopes = [...new Set([...evidence.keys(), ...parts.accounts.ledger.keys()])].sort()
  const proofs = scopes.map((scope) => ({ scope, ...prove(parts, scope, evidence.get(scope) ?? none()) }))
  const whole = proofs.find(({ scope }) => projectOf(scope) === null) ?? prove(parts, 'instance', none())
  const difference = proofs.reduce((sum, proof) => sum + proof.difference, 0)
  return {
    object: 'ledger',
    at: isoTime(now),
    time_zone: parts.accounts.calendar().zone,
    ...viewOf({ ...whole, difference }),
    scopes: proofs
      .slice(0, LIMITS.ledgerScopes)
      .map((proof) => ({ scope: proof.scope, ...viewOf(proof), budget: budgetView(parts, proof.scope, now) })),
    truncated: proofs.length > LIMITS.ledgerScopes,
  }
}

type Proof = { lines: Sums; held: number; counters: number; difference: number }

const gather = (parts: Parts): Map<string, Evidence> => {
  const evidence = new Map<string, Evidence>()
  const of = (scope: string): Evidence => {
    const known = evidence.get(scope) ?? none()
    evidence.set(scope, known)
    return known
  }
  for (const { project, sums } of parts.ledger.sumsByProject())
    for (const scope of scopesOf(project)) addSums(of(scope).lines, sums)
  for (const { project, micros } of parts.jobs.census.holds())
    for (const scope of scopesOf(project)) of(scope).held += micros
  for (const { scope, day, sums } of parts.ledger.spending())
    addSums(day === ALL_DAYS ? of(scope).total : of(scope).days, sums)
  return evidence
}

const prove = (parts: Parts, scope: string, { lines, held, total, days }: Evidence): Proof => {
  // A project without an account is counted on disk alone: nothing is decided by it.
  const account = parts.accounts.ledger.get(scope)
  const counted = account ? account.total : total
  const countedHeld = account ? heldMicros(account) : held
  const difference =
    deviation(lines, counted) + deviation(lines, total) + deviation(lines, days) + Math.abs(held - countedHeld)
  return { lines, held, counters: bookedMicros(counted) + countedHeld, difference }
}

/** Each sum by itself, so that no two errors cancel out. */
const deviation = (a: Sums, b: Sums): number =>
  Math.abs(a.settledMicros - b.settledMicros) +
  Math.abs(a.presumedMicros - b.presumedMicros) +
  Math.abs(a.overHoldMicros - b.overHoldMicros)

const viewOf = ({ lines, held, counters, difference }: Proof) => ({
  settled_usd: microsToUsd(lines.settledMicros),
  presumed_usd: microsToUsd(lines.presumedMicros),
  over_hold_usd: microsToUsd(lines.overHoldMicros),
  attempts: lines.attempts,
  unpriced_attempts: lines.unpriced,
  held_usd: microsToUsd(held),
  counters_usd: microsToUsd(counters),
  difference_usd: microsToUsd(difference),
})

const none = (): Evidence => ({ lines: noSums(), held: 0, total: noSums(), days: noSums() })
