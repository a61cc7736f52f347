import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { ProviderView } from '../../src/contract/instance.ts'
import type { Job } from '../../src/contract/job.ts'
import type { IdeogramEmulator } from '../emulators/ideogram.ts'
import { seededRandom } from '../emulators/random.ts'
import { startEmulator, startProduct } from './harness.ts'
import { allJobs, imageJob, isOver, provision, type Ready, until } from './support.ts'

/** Longer than any test: what is to end earlier is ended by `finishNow`. */
const LONG_MS = 600_000
const FINAL = /^job\.(succeeded|failed|canceled)$/

let emulator: IdeogramEmulator
let ready: Ready

const submit = (prompt: string, more: Record<string, unknown> = {}): Promise<Job> =>
  ready.user.ask<Job>('POST', `${ready.base}/jobs`, imageJob(prompt, more))
const read = ({ id }: Job): Promise<Job> => ready.user.ask<Job>('GET', `${ready.base}/jobs/${id}`)
const cancel = ({ id }: { id: string }) => ready.user.call<Job>('POST', `${ready.base}/jobs/${id}/cancel`)
const limit = (concurrency: number): Promise<unknown> =>
  ready.root.ask('PUT', `${ready.base}/providers/ideogram`, { limits: { concurrency } })
const provider = (): Promise<ProviderView> => ready.root.ask('GET', `${ready.base}/providers/ideogram`)

/** Every durable event of the instance, from the first. */
const story = async () => {
  const { id } = await submit('the last one', { not_before: new Date(Date.now() + LONG_MS).toISOString() })
  const subscription = await ready.user.subscribe(`${ready.base}/events?after=0`)
  await subscription.until((event) => event.job === id)
  await subscription.close()
  await cancel({ id })
  return subscription.events.filter(({ type }) => type !== 'job.progress')
}

const finalEvents = async (job: Job): Promise<string[]> =>
  (await story()).filter((event) => event.job === job.id && FINAL.test(event.type)).map(({ type }) => type)

/** Cancels twice and shows that it holds, whatever the provider still does. */
const endsCanceled = async (job: Job): Promise<Job> => {
  const first = await cancel(job)
  const second = await cancel(job)
  expect([first.status, first.body.status, second.status]).toEqual([200, 'canceled', 200])
  expect(second.body).toEqual(first.body)
  emulator.control({ finishNow: true, latencyMs: 0 })
  // Whoever comes next gets the slot, and all news of the canceled one has arrived by then.
  expect(await until(() => submit('next', { priority: 9 }).then(whole), isOver)).toMatchObject({ status: 'succeeded' })
  const after = await read(job)
  expect({ ...after, progress: 0 }).toEqual({ ...first.body, progress: 0 })
  expect(after.error).toMatchObject({ code: 'canceled', source: 'switchyard' })
  expect(await finalEvents(job)).toEqual(['job.canceled'])
  return after
}

const whole = ({ id }: Job): Promise<Job> =>
  ready.user.ask<Job>('GET', `${ready.base}/jobs/${id}`, undefined, { prefer: 'wait=20' })

beforeAll(async () => {
  emulator = await startEmulator({ draw: false, maxInflight: 1_000 })
  const product = await startProduct()
  ready = await provision(product.url, { baseUrl: emulator.url, limits: { concurrency: 2 } })
})
beforeEach(() => emulator.reset())

describe('A job is canceled for good while it', () => {
  test('is scheduled for later', async () => {
    const job = await submit('later', { not_before: new Date(Date.now() + LONG_MS).toISOString() })
    expect(job.status).toBe('scheduled')
    expect(await endsCanceled(job)).toMatchObject({ attempts: [], cost_usd: 0, started_at: null })
  })

  test('waits in the queue', async () => {
    emulator.control({ latencyMs: LONG_MS })
    await Promise.all([submit('in the way'), submit('in the way too')])
    const job = await submit('waiting')
    expect(job).toMatchObject({ status: 'queued', queue: { waiting_for: 'concurrency' } })
    expect(await endsCanceled(job)).toMatchObject({ attempts: [], cost_usd: 0 })
    expect(emulator.stats().generations.map(({ prompt }) => prompt)).not.toContain('waiting')
  })

  test('waits for a retry', async () => {
    const job = await submit('again later [[fail:503]] [[retry_after:600]]', { deadline_s: 3_600 })
    await until(
      () => read(job),
      ({ attempts, status }) => attempts.length === 1 && status === 'queued',
    )
    const after = await endsCanceled(job)
    expect(after.attempts.map(({ outcome }) => outcome)).toEqual(['provider_unavailable'])
    expect([after.cost_usd, emulator.stats().rejected]).toEqual([0, { 503: 1 }])
  })

  test('runs and was not accepted yet', async () => {
    const job = await submit(`thinking about it [[slow:${LONG_MS}]] [[fail:503]]`)
    await until(
      () => emulator.stats().faults,
      ({ fail }) => fail === 1,
    )
    const after = await endsCanceled(job)
    expect(after.attempts.map(({ outcome }) => outcome)).toEqual(['canceled'])
  })

  test('is polled', async () => {
    emulator.control({ latencyMs: LONG_MS })
    const job = await submit('slow')
    await until(
      () => emulator.stats().polls,
      (polls) => polls > 0,
    )
    const after = await endsCanceled(job)
    // It was accepted, so nobody knows what it cost.
    expect([after.attempts[0]?.outcome, after.cost_usd, after.output]).toEqual(['canceled', null, null])
  })

  test('is being stored', async () => {
    const job = await submit(`large [[slow_image:${LONG_MS}]]`)
    await until(
      () => emulator.stats().downloads,
      (downloads) => downloads > 0,
    )
    expect((await endsCanceled(job)).output).toBeNull()
  })
})

test('A job that has ended otherwise is not canceled: 409, and it stays as it was', async () => {
  const good = await whole(await submit('good'))
  const bad = await whole(await submit('bad [[reject]]'))
  expect([good.status, bad.status]).toEqual(['succeeded', 'failed'])
  for (const job of [good, bad, good, bad]) {
    const answer = await cancel(job)
    expect([answer.status, answer.body]).toMatchObject([409, { error: { code: 'conflict' } }])
    // The links of a result are signed anew; nothing else changes.
    expect({ ...(await read(job)), output: null }).toEqual({ ...job, output: null })
    expect(await finalEvents(job)).toEqual([`job.${job.status}`])
  }
})

test('Unknown jobs cannot be canceled: 404', async () => {
  for (const id of ['job_00000000000000000000000000', 'nonsense']) expect((await cancel({ id })).status).toBe(404)
})

test('300 jobs canceled by three at once, each at a moment of its own, end in one truth', async () => {
  const seed = Number(process.env.CANCEL_SEED ?? 20_261_121)
  console.log(`seed ${seed}; again with: CANCEL_SEED=${seed}`)
  const random = seededRandom(seed)
  await limit(300)
  emulator.control({
    seed,
    faultRate: 0.25,
    faults: ['fail:503', 'fail:429 retry_after:1', 'cut_after', 'slow_image:300', 'poll_fail:500:1', 'unsafe'],
    latencyJitterMs: 400,
  })
  const race = async (index: number) => {
    const laterMs = random() < 0.2 ? 300 : 0
    const more = laterMs ? { not_before: new Date(Date.now() + laterMs).toISOString() } : {}
    const moments = [random(), random(), random()].map((share) => share * 4_000)
    const { id } = await submit(`race ${index}`, { on_outcome_unknown: 'retry', ...more })
    const answers = moments.map(async (ms) => {
      await new Promise((resolve) => setTimeout(resolve, ms))
      const answer = await cancel({ id })
      return { status: answer.status, job: answer.body }
    })
    return { id, answers: await Promise.all(answers) }
  }
  const races = await Promise.all(Array.from({ length: 300 }, (_, index) => race(index)))

  const jobs = new Map(
    (
      await until(
        () => allJobs(ready.user, ready.base),
        (all) => all.every(isOver),
      )
    ).map((job) => [job.id, job]),
  )
  const ends = Map.groupBy(
    (await story()).filter(({ type }) => FINAL.test(type)),
    ({ job }) => job,
  )
  const truths = races.map(({ id, answers }) => {
    const job = jobs.get(id)
    return {
      id,
      // A canceled job says so to everybody; one that ended otherwise before to nobody.
      agreed: answers.every(({ status }) => status === (job?.status === 'canceled' ? 200 : 409)),
      told: ends.get(id)?.map(({ type }) => type),
      closed: job?.attempts.every(({ outcome, ended_at: end }) => outcome !== null && end !== null),
    }
  })
  const wanted = truths.map(({ id }) => ({ id, agreed: true, told: [`job.${jobs.get(id)?.status}`], closed: true }))
  expect(truths).toEqual(wanted)
  const statuses = races.map(({ id }) => jobs.get(id)?.status)
  console.log(Object.fromEntries([...Map.groupBy(statuses, String)].map(([status, all]) => [status, all.length])))
  const outcomes = [...jobs.values()].flatMap(({ attempts }) => attempts).map(({ outcome }) => outcome)
  expect(outcomes.filter((outcome) => outcome === 'canceled').length).toBeGreaterThan(20)
  // Nothing leaked: every slot is free again.
  expect((await provider()).live).toMatchObject({ running: 0, queued: 0 })
})
