import type { ServerResponse } from 'node:http'
import { type Directives, type Given, numberOf } from '../directives.ts'
import type { Call, Ending } from './ledger.ts'

/** The way of a call from its prompt until its answer may begin. */

/** As much of an emulator's state as calls have in common. */
export interface Serving {
  settings: { latencyMs: number; chunkDelayMs: number }
  ledger: {
    settle(call: Call, now: number, ending: Ending): void
    countDirectives(directives: ReadonlyMap<string, unknown>): void
  }
  now(): number
  drawFault(): string | undefined
  wait(durationMs: number): Promise<void>
}

/** Directives of the call and, in chaos runs, those of the fault that it draws, which win. */
export function withDrawn<Name extends string>(
  state: Serving,
  directives: Directives<Name>,
  readFaultSetting: (setting: string) => { directives: Directives<Name> },
): Directives<Name> {
  const fault = state.drawFault()
  const all = fault === undefined ? directives : new Map([...directives, ...readFaultSetting(fault).directives])
  state.ledger.countDirectives(all)
  return all
}

/** Long enough for a stall to be one for good. */
export const dayMs = 24 * 60 * 60 * 1000

/** From here on the call is billed, whatever becomes of the answer. Resolves when the answer may begin. */
export async function begin(
  state: Serving,
  response: ServerResponse,
  directives: Given<'stall'>,
  call: Call,
): Promise<void> {
  const { ledger } = state
  // A response that was sent whole closes too, before whoever sent it hears of it.
  response.once('close', () => ledger.settle(call, state.now(), response.writableFinished ? 'answered' : 'left'))
  await state.wait(state.settings.latencyMs)
  if (directives.has('stall')) await state.wait(numberOf(directives, 'stall', 0, dayMs))
}

/** Headers of a refusal that tell the client when to come back, as directives ask for them. */
export function retryHeaders(
  directives: Given<'retry_after' | 'retry_after_ms' | 'should_retry'>,
): Record<string, string> {
  const told: Record<string, string> = {}
  if (directives.has('retry_after')) told['retry-after'] = directives.get('retry_after')?.join(':') ?? ''
  if (directives.has('retry_after_ms')) told['retry-after-ms'] = String(numberOf(directives, 'retry_after_ms', 0, 0))
  if (directives.has('should_retry')) told['x-should-retry'] = directives.get('should_retry')?.[0] ?? 'true'
  return told
}
