import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { instanceStub } from './client.ts'
import type { movableClock } from './clock.ts'

/** The Instance `prod` as the platform sees it: its alarm and its database. */

export const ring = (): Promise<boolean> => runDurableObjectAlarm(instanceStub('prod'))

export const exec = (query: string): Promise<void> =>
  runInDurableObject(instanceStub('prod'), (_instance, { storage }) => void storage.sql.exec(query))

const alarmAt = (): Promise<number | null> =>
  runInDurableObject(instanceStub('prod'), (_instance, { storage }) => storage.getAlarm())

/** Time passes on a clock that stands still, and the alarm rings when it is due and not before: who is left asleep sleeps on. */
export const letPass = async (clock: ReturnType<typeof movableClock>, ms: number): Promise<void> => {
  const untilMs = clock.freeze() + ms
  for (;;) {
    const at = await alarmAt()
    if (at === null || at > untilMs) break
    clock.advance(Math.max(0, at - Date.now()))
    await ring()
  }
  clock.advance(untilMs - Date.now())
}
