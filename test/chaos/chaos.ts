import type { Job } from '../../src/contract/job.ts'
import { type Audit, audit } from './audit.ts'
import { type Follower, follow, isFinalEvent } from './follower.ts'
import { type Order, ordersOf } from './orders.ts'
import { pause, persist, until } from './patience.ts'
import { BASE, type Limits, openWorld, type ProviderId, type World } from './world.ts'

/** Jobs, faults, cancellations and crashes at once; then what must hold is checked. */

export type ChaosOptions = {
  jobs: number
  kills: number
  seed: number
  limits: Record<ProviderId, Limits>
  deadlineS: number
  /** Until every job is final. */
  withinMs: number
  say(line: string): void
  /** What the product printed, and its last word on every job: what a broken promise is traced with. */
  keep?(name: string, text: string): void
}

type Stage = { world: World; follower: Follower; withinMs: number }

export const runChaos = async (options: ChaosOptions): Promise<Audit> => {
  const { jobs, kills, limits, withinMs, say } = options
  const world = await openWorld(options.seed, limits)
  const startedAt = Date.now()
  try {
    const follower = follow(world)
    const orders = ordersOf(options)
    const placed = Promise.all(orders.map((order) => place({ world, follower, withinMs }, order)))
    // Every failure is reported by the await below, also when it comes first.
    placed.catch(() => null)
    for (let kill = 1; kill <= kills; kill += 1) {
      await until(() => ended(follower) >= (jobs * (kill - 0.5)) / (kills + 0.5), withinMs, `before kill ${kill}`)
      await world.crash()
      say(`kill -9 number ${kill} after ${seconds(startedAt)}, ${ended(follower)} of ${jobs} jobs had ended`)
    }
    const acknowledged = await placed
    await until(() => ended(follower) >= jobs, withinMs, `${jobs} jobs to end`).catch((error: Error) =>
      say(`${error.message}: ${ended(follower)} did`),
    )
    say(`${ended(follower)} jobs ended after ${seconds(startedAt)}`)
    await follower.stop()
    return await audit({ world, limits, acknowledged, followed: follower.events, keep: options.keep })
  } finally {
    options.keep?.('product.log', world.output())
    await world.close()
  }
}

const ended = ({ events }: Follower): number => events.reduce((sum, event) => sum + (isFinalEvent(event) ? 1 : 0), 0)

const seconds = (since: number): string => `${((Date.now() - since) / 1000).toFixed(1)} s`

/** Submits until it is acknowledged, whatever is killed meanwhile, and cancels where that was ordered. Returns the id. */
const place = async ({ world, follower, withinMs }: Stage, order: Order): Promise<string> => {
  await pause(order.submitAfterMs)
  const headers = { 'idempotency-key': order.idempotencyKey }
  const { id } = await persist(() => world.user().ask<Job>('POST', `${BASE}/jobs`, order.body, headers))
  if (!order.cancel) return id
  if (order.cancel.since === 'start') await until(() => follower.touched.has(id), withinMs, `${id} to start or end`)
  await pause(order.cancel.afterMs)
  const answer = await persist(() => world.user().call('POST', `${BASE}/jobs/${id}/cancel`))
  if (answer.status !== 200 && answer.status !== 409) throw new Error(`cancel ${id}: ${answer.status} ${answer.text}`)
  return id
}
