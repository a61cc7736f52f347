import type { LedgerView } from '../../src/contract/budget.ts'
import type { Audit } from './audit.ts'
import { persist } from './patience.ts'
import { BASE, type World } from './world.ts'

/** At rest nothing is held, and the books prove themselves. */
export const auditBooks = async (world: World): Promise<Audit> => {
  const ledger = await persist(() => world.root().ask<LedgerView>('GET', `${BASE}/ledger`))
  const broken: string[] = []
  if (ledger.difference_usd !== 0) broken.push(`the ledger's difference is ${ledger.difference_usd} USD`)
  for (const { scope, held_usd, difference_usd } of ledger.scopes) {
    if (held_usd !== 0) broken.push(`${held_usd} USD are held in ${scope} while nothing runs or waits`)
    if (difference_usd !== 0) broken.push(`the books of ${scope} differ by ${difference_usd} USD`)
  }
  const booked = ledger.settled_usd + ledger.presumed_usd
  const books = `${ledger.settled_usd.toFixed(6)} settled, ${ledger.presumed_usd.toFixed(6)} presumed, ${ledger.over_hold_usd.toFixed(6)} above holds, ${ledger.unpriced_attempts} unpriced`
  return { broken, figures: { books, booked_usd: Number(booked.toFixed(6)) } }
}
