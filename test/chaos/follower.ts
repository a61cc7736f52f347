import type { JobEvent } from '../../src/cli/client.ts'
import { pause } from './patience.ts'
import { BASE, type World } from './world.ts'

/** A subscriber that lives through the product's crashes: it connects again and goes on behind the last event it had. */
export type Follower = {
  events: JobEvent[]
  /** Jobs that have started, or ended without a start. */
  touched: Set<string>
  stop(): Promise<void>
}

export const isDurable = (event: JobEvent): boolean => event.type !== 'job.progress'
export const isFinalEvent = (event: JobEvent): boolean =>
  ['job.succeeded', 'job.failed', 'job.canceled'].includes(event.type)

export const follow = (world: World): Follower => {
  const events: JobEvent[] = []
  const touched = new Set<string>()
  let stopped = false
  let disconnect = (): unknown => null
  const take = (event: JobEvent): void => {
    if (isDurable(event)) events.push(event)
    if (event.type === 'job.started' || isFinalEvent(event)) touched.add(event.job)
  }
  const run = async (): Promise<void> => {
    while (!stopped) {
      const path = `${BASE}/events?after=${events.at(-1)?.seq ?? 0}`
      const subscription = await world
        .user()
        .subscribe(path)
        .catch(() => null)
      if (!subscription) {
        await pause(100)
        continue
      }
      for (const event of subscription.events) take(event)
      subscription.onEvent(take)
      disconnect = subscription.close
      if (stopped) disconnect()
      await subscription.closed
    }
  }
  const running = run()
  return {
    events,
    touched,
    stop: async () => {
      stopped = true
      disconnect()
      await running
    },
  }
}

/** The whole story as a newcomer is told it. */
export const replay = async (world: World, last: number): Promise<JobEvent[]> => {
  const subscription = await world.user().subscribe(`${BASE}/events?after=0`)
  await subscription.until((event) => isDurable(event) && event.seq >= last, 60_000)
  await subscription.close()
  return subscription.events.filter(isDurable)
}
