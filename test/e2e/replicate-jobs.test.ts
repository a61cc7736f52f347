import { globSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Client } from '../../src/cli/client.ts'
import type { Server } from '../../src/cli/server.ts'
import type { Job } from '../../src/contract/job.ts'
import { type ReplicateEmulator, type ReplicateOptions, startReplicate } from '../emulators/replicate.ts'
import { afterFile, api, freshState, startProduct } from './harness.ts'
import { isOver, until } from './support.ts'

const MODEL = 'replicate/black-forest-labs/flux-schnell'
/** Longer than any test: what is to end earlier is ended by `finishNow`. */
const LONG_MS = 600_000

type World = { emulator: ReplicateEmulator; base: string; key: string; product: Server; root: Client; user: Client }

let made = 0

const emulate = async (options: ReplicateOptions = {}): Promise<ReplicateEmulator> => {
  const emulator = await startReplicate({ draw: false, ...options })
  afterFile(() => emulator.close())
  return emulator
}

const provision = async (product: Server, emulator: ReplicateEmulator, tokens: string[]): Promise<World> => {
  made += 1
  const base = `/v1/instances/replicate-${made}`
  const root = api(product.url)
  await root.ask('POST', '/v1/instances', { id: `replicate-${made}` })
  await root.ask('PUT', `${base}/providers/replicate`, { base_url: `${emulator.url}/v1` })
  for (const secret of tokens)
    await root.ask('POST', `${base}/providers/replicate/credentials`, { name: secret, secret })
  const { key } = await root.ask<{ key: string }>('POST', `${base}/keys`, { name: 'app', role: 'user' })
  return { emulator, base, key, product, root, user: root.withKey(key) }
}

const submit = ({ user, base }: World, prompt: string, more: object = {}, input: object = {}): Promise<Job> =>
  user.ask<Job>('POST', `${base}/jobs`, {
    type: 'image.generate',
    models: [MODEL],
    input: { prompt, ...input },
    ...more,
  })

const read = ({ user, base }: World, { id }: Job): Promise<Job> => user.ask<Job>('GET', `${base}/jobs/${id}`)
const ended = (world: World, job: Job, withinMs = 30_000): Promise<Job> =>
  until(() => read(world, job), isOver, withinMs)
const outcomes = (job: Job): (string | null)[] => job.attempts.map(({ outcome }) => outcome)

/** The attempt's call was answered, and the lane keeps what it polls with. */
const polling = (world: World, job: Job): Promise<Job> =>
  until(
    () => read(world, job),
    ({ progress }) => progress >= 0.05,
  )

/** The one prediction is canceled at Replicate, and costs nothing. */
const canceledThere = async (world: World): Promise<void> => {
  const stats = await until(
    () => world.emulator.stats(),
    ({ canceled }) => canceled === 1,
    20_000,
  )
  expect(stats).toMatchObject({ created: 1, billed_usd_micros: 0, predictions: [{ status: 'canceled' }] })
}

/** Cancels twice, of which the second changes nothing. */
const endsCanceled = async ({ user, base }: World, { id }: Job): Promise<Job> => {
  const cancel = () => user.call<Job>('POST', `${base}/jobs/${id}/cancel`)
  const [first, second] = [await cancel(), await cancel()]
  expect([first.status, first.body.status, first.body.error?.code]).toEqual([200, 'canceled', 'canceled'])
  expect([second.status, second.body]).toEqual([200, first.body])
  return first.body
}

/** The product again on the same state, with clients that speak to it. */
const restarted = async (world: World, state: string): Promise<World> => {
  const product = await startProduct({ state })
  const root = api(product.url)
  // A request wakes the instance; its own alarm would, but up to ten seconds later.
  await root.ask('GET', `${world.base}/jobs?limit=1`)
  return { ...world, product, root, user: root.withKey(world.key) }
}

/** Lost calls that lanes look for and have kept. */
const lookedFor = (state: string): number => {
  let count = 0
  for (const file of globSync(join(state, '**/*.sqlite'))) {
    const database = new DatabaseSync(file, { readOnly: true })
    const isLane = database.prepare("SELECT 1 FROM pragma_table_info('attempts') WHERE name = 'resume'").get()
    const kept = "SELECT count(*) AS n FROM attempts WHERE json_extract(resume, '$.stage') = 'reconcile'"
    if (isLane) count += Number(database.prepare(kept).get()?.['n'])
    database.close()
  }
  return count
}

/**
 * Moves what the lanes keep half a minute into the past, as if it had been waited for: Replicate's list is only believed
 * that long after a create. The product must not be running.
 */
const passHalfAMinute = (state: string): number => {
  let moved = 0
  for (const file of globSync(join(state, '**/*.sqlite'))) {
    const database = new DatabaseSync(file)
    const isLane = database.prepare("SELECT 1 FROM pragma_table_info('attempts') WHERE name = 'resume'").get()
    if (isLane) {
      const { changes } = database
        .prepare(
          `UPDATE attempts SET due_at_ms = due_at_ms - 31000,
             resume = json_set(resume, '$.sinceMs', json_extract(resume, '$.sinceMs') - 31000)
           WHERE json_extract(resume, '$.stage') = 'reconcile'`,
        )
        .run()
      moved += Number(changes)
    }
    database.close()
  }
  return moved
}

/** Ends the product once a lane looks for a lost call, and lets half a minute pass. */
const waitOutTheList = async (world: World, state: string): Promise<World> => {
  await until(
    () => world.emulator.stats(),
    ({ lists }) => lists >= 1,
  )
  await until(
    async () => lookedFor(state),
    (count) => count > 0,
  )
  await world.product.stop()
  expect(passHalfAMinute(state)).toBeGreaterThan(0)
  return restarted(world, state)
}

describe('A job on Replicate', () => {
  let world: World
  beforeAll(async () => {
    world = await provision(await startProduct(), await emulate(), ['r8_token'])
  })
  beforeEach(() => world.emulator.reset())

  test('is made, polled, stored and paid for', async () => {
    const job = await ended(world, await submit(world, 'a lighthouse', {}, { count: 2, aspect_ratio: '16:9' }))
    const [prediction] = world.emulator.stats().predictions
    expect(job).toMatchObject({ status: 'succeeded', model: MODEL, cost_usd: 0.006, usage: { images: 2 } })
    expect(job.attempts).toMatchObject([{ outcome: 'done', provider_request_id: prediction?.id }])
    expect(job.output?.images.map(({ width, height }) => [width, height])).toEqual([
      [1376, 768],
      [1376, 768],
    ])
    const answer = await fetch(job.output?.images[0]?.url ?? '')
    expect((await answer.arrayBuffer()).byteLength).toBe(job.output?.images[0]?.bytes)
    expect(world.emulator.stats()).toMatchObject({ created: 1, downloads: 2, billed_usd_micros: 6_000 })
  })

  test('is canceled at Replicate too', async () => {
    world.emulator.control({ latencyMs: LONG_MS })
    const job = await submit(world, 'never mind')
    await polling(world, job)
    const answer = await world.user.call<Job>('POST', `${world.base}/jobs/${job.id}/cancel`)
    expect([answer.status, answer.body.status]).toEqual([200, 'canceled'])
    await canceledThere(world)
  })

  test('is canceled at Replicate too while it is only starting there', async () => {
    world.emulator.control({ bootMs: LONG_MS, latencyMs: LONG_MS })
    const job = await submit(world, 'never mind')
    await until(
      () => world.emulator.stats(),
      ({ polls }) => polls > 0,
    )
    expect(world.emulator.stats().predictions).toMatchObject([{ status: 'starting' }])
    await endsCanceled(world, job)
    await canceledThere(world)
  })

  test('is canceled while its picture is stored, which nobody gets, though Replicate has made and billed it', async () => {
    const job = await submit(world, `never mind it [[slow_image:${LONG_MS}]]`)
    await until(
      () => world.emulator.stats(),
      ({ downloads }) => downloads > 0,
    )
    await endsCanceled(world, job)
    world.emulator.control({ finishNow: true })
    expect((await ended(world, await submit(world, 'the next'))).status).toBe('succeeded')
    expect(await read(world, job)).toMatchObject({ status: 'canceled', output: null, cost_usd: null })
    // It had ended there: nothing was left to cancel.
    const both = { created: 2, canceled: 0, billed_usd_micros: 6_000 }
    expect(world.emulator.stats()).toMatchObject({
      ...both,
      predictions: [{ status: 'succeeded' }, { status: 'succeeded' }],
    })
  })

  test.each(['is scheduled', 'waits in the queue', 'waits for its budget'] as const)(
    'that %s is canceled, and Replicate never hears of it',
    async (state) => {
      const own = await provision(world.product, world.emulator, ['r8_token'])
      await own.root.ask('PATCH', own.base, { config: { budget: { over: 'wait' } } })
      world.emulator.control({ latencyMs: LONG_MS })
      const inTheWay = await submit(own, 'in the way')
      await polling(own, inTheWay)
      const [obstacle, expected, more] = {
        'is scheduled': [
          () => {},
          { status: 'scheduled', queue: { waiting_for: 'not_before' } },
          { not_before: new Date(Date.now() + LONG_MS).toISOString() },
        ] as const,
        'waits in the queue': [
          () => own.root.ask('PUT', `${own.base}/providers/replicate`, { limits: { concurrency: 1 } }),
          { status: 'queued', queue: { waiting_for: 'concurrency' } },
          {},
        ] as const,
        // One picture is 0.003.
        'waits for its budget': [
          () => own.root.ask('PUT', `${own.base}/budgets/instance`, { limit_usd: 0.005, window: 'total' }),
          { status: 'queued', queue: { waiting_for: 'budget' } },
          {},
        ] as const,
      }[state]
      await obstacle()
      const job = await submit(own, 'never mind', more)
      expect(job).toMatchObject(expected)
      const canceled = await endsCanceled(own, job)
      expect(canceled).toMatchObject({ attempts: [], cost_usd: 0, started_at: null })
      // Its way is free now, and it does not take it.
      await endsCanceled(own, inTheWay)
      if (state === 'waits for its budget')
        await own.root.ask('PUT', `${own.base}/budgets/instance`, { limit_usd: 1, window: 'total' })
      world.emulator.control({ latencyMs: 0 })
      expect((await ended(own, await submit(own, 'the next'))).status).toBe('succeeded')
      expect(await read(own, job)).toEqual(canceled)
      expect(world.emulator.stats().created).toBe(2)
      expect(await own.root.ask('GET', `${own.base}/ledger`)).toMatchObject({ held_usd: 0, difference_usd: 0 })
    },
  )

  test.each([
    ['is held', 'never mind', { wait: 30 }],
    ['is lost', 'never mind that [[stall]]', {}],
  ])('is canceled at Replicate too while the answer to its create %s', async (_what, prompt, options) => {
    world.emulator.control({ latencyMs: LONG_MS, listLagMs: 500 })
    const job = await submit(world, prompt, {}, { provider_options: { replicate: options } })
    await until(
      () => world.emulator.stats(),
      ({ created }) => created === 1,
    )
    await world.user.call<Job>('POST', `${world.base}/jobs/${job.id}/cancel`)
    await canceledThere(world)
  })

  test('is canceled at Replicate too between two looks for a create whose answer was lost', async () => {
    world.emulator.control({ latencyMs: LONG_MS, listLagMs: 4_000 })
    const job = await submit(world, 'never mind that [[cut_after]]')
    await until(
      () => world.emulator.stats(),
      ({ lists }) => lists > 0,
    )
    await world.user.call<Job>('POST', `${world.base}/jobs/${job.id}/cancel`)
    await canceledThere(world)
  })

  test('goes on with its prediction when the answer to the create was lost', async () => {
    const job = await ended(world, await submit(world, 'cut off [[cut_after]]'))
    const { created, lists, predictions } = world.emulator.stats()
    expect(job).toMatchObject({ status: 'succeeded', attempts: [{ provider_request_id: predictions[0]?.id }] })
    expect(job.attempts).toHaveLength(1)
    expect([created, lists]).toEqual([1, 1])
  })

  test('asks for the list again when it fails', async () => {
    world.emulator.control({ listFailures: 1 })
    const job = await ended(world, await submit(world, 'cut off [[garbage]]'))
    expect([job.status, world.emulator.stats().created, world.emulator.stats().lists]).toEqual(['succeeded', 1, 2])
  })

  test('fails as unknown, and is not bought again, when the list could hold it for another job', async () => {
    const first = await ended(world, await submit(world, 'twins', {}, { seed: 7 }))
    const second = await ended(world, await submit(world, 'twins [[cut_after]]', {}, { seed: 7 }))
    expect([first.status, second.status, second.error?.code]).toEqual(['succeeded', 'failed', 'outcome_unknown'])
    expect(world.emulator.stats().created).toBe(2)
  })
})

describe('A create on Replicate that was lost', () => {
  test('and never arrived is made again, once the list can be believed', async () => {
    const state = freshState()
    let world = await provision(await startProduct({ state }), await emulate(), ['r8_token'])
    world.emulator.control({ faultRate: 1, faults: ['cut_before'] })
    const job = await submit(world, 'lost on the way')
    await until(
      () => world.emulator.stats().rejected,
      ({ cut }) => cut === 1,
    )
    world.emulator.control({ faultRate: 0 })
    world = await waitOutTheList(world, state)
    expect(await ended(world, job)).toMatchObject({ status: 'succeeded' })
    expect(world.emulator.stats().created).toBe(1)
  })

  test('and is missing from the list for a while is not made again', async () => {
    const state = freshState()
    let world = await provision(await startProduct({ state }), await emulate(), ['r8_token'])
    world.emulator.control({ listLagMs: LONG_MS, clockOffsetMs: 0 })
    const job = await submit(world, 'late in the list [[cut_after]]')
    await until(
      () => world.emulator.stats(),
      ({ lists }) => lists === 1,
    )
    expect((await read(world, job)).status).toBe('running')
    world.emulator.control({ listLagMs: 0 })
    world = await waitOutTheList(world, state)
    expect(await ended(world, job)).toMatchObject({ status: 'succeeded' })
    expect(world.emulator.stats().created).toBe(1)
  })

  test('in a crash is found and gone on with', async () => {
    const state = freshState()
    let world = await provision(await startProduct({ state }), await emulate(), ['r8_token'])
    const job = await submit(world, 'crash [[stall]]')
    await until(
      () => world.emulator.stats(),
      ({ created }) => created === 1,
    )
    await world.product.kill9()
    world = await restarted(world, state)
    const after = await ended(world, job)
    expect([after.status, outcomes(after)]).toEqual(['succeeded', ['outcome_unknown', 'done']])
    expect(world.emulator.stats().created).toBe(1)
  })

  test('in a crash is looked for in the account that it was made with', async () => {
    const state = freshState()
    let world = await provision(await startProduct({ state }), await emulate(), ['r8_one', 'r8_two'])
    const prefer = async (name: string, other: string): Promise<void> => {
      const credentials = `${world.base}/providers/replicate/credentials`
      await world.root.ask('PATCH', `${credentials}/${name}`, { weight: 1_000 })
      await world.root.ask('PATCH', `${credentials}/${other}`, { weight: 1 })
    }
    await prefer('r8_one', 'r8_two')
    const job = await submit(world, 'two accounts [[stall]]')
    await until(
      () => world.emulator.stats(),
      ({ created }) => created === 1,
    )
    await prefer('r8_two', 'r8_one')
    await world.product.kill9()
    world = await restarted(world, state)
    // With the wrong account's list the product would wait, and then buy anew.
    await until(
      () => world.emulator.stats(),
      ({ lists }) => lists >= 1,
    )
    const found = await until(() => read(world, job), isOver, 5_000).catch(() => null)
    expect([found?.status, world.emulator.stats().created]).toEqual(['succeeded', 1])
  })

  test('and made again is looked for under its own attempt after a crash', async () => {
    const state = freshState()
    let world = await provision(await startProduct({ state }), await emulate(), ['r8_token'])
    world.emulator.control({ faultRate: 1, faults: ['slow:600000 cut_before'] })
    const job = await submit(world, 'lost twice')
    await until(
      () => world.emulator.stats(),
      ({ faults }) => faults.cut_before === 1,
    )
    await world.product.kill9()
    world.emulator.control({ finishNow: true, faults: ['stall'] })
    world = await restarted(world, state)
    world = await waitOutTheList(world, state)
    // The second attempt has found nothing and calls anew; its answer is lost in another crash.
    await until(
      () => world.emulator.stats(),
      ({ created }) => created === 1,
    )
    world.emulator.control({ faultRate: 0 })
    await world.product.kill9()
    world = await restarted(world, state)
    const after = await ended(world, job)
    expect([after.status, world.emulator.stats().created]).toEqual(['succeeded', 1])
  })
})

describe('A webhook of Replicate', () => {
  let world: World
  beforeAll(async () => {
    const port = await freePort()
    const env = { PORT: String(port), PUBLIC_BASE_URL: `http://127.0.0.1:${port}` }
    world = await provision(await startProduct({ env }), await emulate(), ['r8_token'])
  })
  beforeEach(() => {
    world.emulator.reset()
    world.emulator.control({ allowLoopbackWebhooks: true, latencyMs: LONG_MS, webhookRetryMs: 50 })
  })

  const hookOf = ({ id }: Job): string => `${world.base}/hooks/replicate?job=${id}&attempt=1`
  const finalEvents = async (job: Job): Promise<string[]> => {
    const subscription = await world.user.subscribe(`${world.base}/jobs/${job.id}/events?after=0`)
    await subscription.closed
    return subscription.events.map(({ type }) => type).filter((type) => /succeeded|failed|canceled/.test(type))
  }

  test('ends the waiting before the next poll was due', async () => {
    const job = await submit(world, 'tell me')
    // The next poll is due five seconds later.
    await until(
      () => world.emulator.stats(),
      ({ polls }) => polls === 1,
    )
    world.emulator.control({ finishNow: true })
    const after = await ended(world, job)
    const [prediction] = world.emulator.stats().predictions
    expect(prediction).toMatchObject({ webhooksDelivered: 1, webhooksFailed: 0, polls: 2 })
    expect(Date.parse(after.ended_at ?? '') - (prediction?.completedAt ?? 0)).toBeLessThan(3_000)
    expect(after.status).toBe('succeeded')
  })

  test('that is unsigned, forged or for nobody is answered 404 and changes nothing', async () => {
    const job = await submit(world, 'do not listen [[webhook_bad_signature]]')
    await polling(world, job)
    const polls = world.emulator.stats().polls
    const signed = {
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(Math.floor(Date.now() / 1000)),
      'webhook-signature': `v1,${Buffer.alloc(32).toString('base64')}`,
    }
    const body = { id: world.emulator.stats().predictions[0]?.id, status: 'succeeded', output: [] }
    const anyone = world.user.withKey('')
    for (const headers of [{}, signed, { ...signed, 'webhook-timestamp': '1' }])
      expect((await anyone.call('POST', hookOf(job), body, headers)).status).toBe(404)
    const nobodys = hookOf(job).replace('replicate-', 'nobody-')
    expect((await anyone.call('POST', nobodys, body, signed)).status).toBe(404)
    expect([(await read(world, job)).status, world.emulator.stats().polls - polls]).toEqual([
      'running',
      expect.any(Number),
    ])
    // The provider's own delivery with a wrong signature is refused as well; polling brings the result.
    world.emulator.control({ finishNow: true })
    expect((await ended(world, job)).status).toBe('succeeded')
    const stats = await until(
      () => world.emulator.stats().predictions,
      ([prediction]) => prediction?.webhooksFailed === 1,
    )
    expect(stats).toMatchObject([{ webhooksDelivered: 0 }])
  })

  test('that comes twice does no harm', async () => {
    const job = await submit(world, 'twice [[webhook_twice]]')
    await polling(world, job)
    world.emulator.control({ finishNow: true })
    expect((await ended(world, job)).status).toBe('succeeded')
    // The second is turned away where the job has ended by then.
    await until(
      () => world.emulator.stats().predictions,
      ([prediction]) => (prediction?.webhooksDelivered ?? 0) + (prediction?.webhooksFailed ?? 0) === 2,
    )
    expect(await finalEvents(job)).toEqual(['job.succeeded'])
    expect(world.emulator.stats()).toMatchObject({ created: 1, downloads: 1 })
  })
})

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
