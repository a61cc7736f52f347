import { abortAllDurableObjects, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { JobRequest } from '../../../src/contract/job.ts'
import { type Caller, fromWire, type Report, toWire } from '../../../src/contract/rpc.ts'
import { Instance } from '../../../src/instance/instance.ts'
import { Lane } from '../../../src/job/lane.ts'
import {
  instanceStub,
  laneRows,
  laneStub,
  openSite,
  PROVIDER_SECRET,
  ROOT_KEY,
  rowsOf,
  type Site,
  SYNC,
  send,
  stateOf,
} from '../support/client.ts'
import { eventually, movableClock, pause } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram, PICTURE } from '../support/fake-ideogram.ts'

/** A lane that dies, at each point of an attempt, and what becomes of the job and the money. */

const ASYNC = { input: { prompt: 'a lighthouse at dawn' } }
const wake = () => runDurableObjectAlarm(instanceStub('prod'))
const objects = async () => (await env.ARTIFACTS.list()).objects.map(({ key }) => key)

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

/** The process is gone, with everything that was only in memory. Nobody asks for anything afterwards. */
const crash = async () => {
  await abortAllDurableObjects()
  for (const kind of ['generate', 'poll', 'image'] as const) provider.release(kind)
}

const parked = () =>
  eventually(
    'the attempt waits for the provider',
    async () => (await laneRows('prod', 'SELECT * FROM attempts')).length > 0,
  )

describe('a crash before the provider answered', () => {
  const crashEarly = async (more: Record<string, unknown>) => {
    provider.hold('generate')
    const job = await site.begin(more)
    await eventually('the call hangs', () => provider.open.generate === 1)
    await crash()
    await wake()
    return site.ended(job.id)
  }

  test('is an unknown outcome, and nothing is bought a second time', async () => {
    const job = await crashEarly({})
    expect(job).toMatchObject({ status: 'failed', error: { code: 'outcome_unknown' }, cost_usd: null })
    expect(job.attempts).toMatchObject([{ number: 1, outcome: 'outcome_unknown' }])
    expect(provider.calls.generate).toBe(1)
  })

  test('is tried again where the job allows it', async () => {
    const job = await crashEarly({ on_outcome_unknown: 'retry' })
    expect(job.status).toBe('succeeded')
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['outcome_unknown', 'done'])
    expect(job.cost_usd).toBeNull()
  })
})

describe('a crash while the provider works', () => {
  test('loses nothing: the attempt goes on polling', async () => {
    const job = await site.begin(ASYNC)
    await parked()
    await crash()
    await wake()
    const done = await site.ended(job.id)
    expect(done).toMatchObject({
      status: 'succeeded',
      attempts: [{ number: 1, outcome: 'done', provider_request_id: 'gen-1' }],
    })
    expect(provider.accepted).toHaveLength(1)
    // The row goes with the lane's next write, which saves a commit.
    await site.ended((await site.begin(ASYNC)).id)
    expect((await laneRows('prod', 'SELECT job FROM attempts')).map((row) => row['job'])).not.toContain(job.id)
  })

  test('needs nobody to ask: the lane wakes by its own alarm', async () => {
    const job = await site.begin(ASYNC)
    await parked()
    await crash()
    await eventually('the poll', () => provider.calls.poll > 0)
    expect((await site.ended(job.id)).status).toBe('succeeded')
  })

  test('also where the lane is only evicted', async () => {
    const job = await site.begin(ASYNC)
    await parked()
    await evictDurableObject(laneStub('prod'))
    expect((await site.ended(job.id)).status).toBe('succeeded')
    expect(provider.accepted).toHaveLength(1)
  })

  test('while a poll hangs asks again', async () => {
    provider.hold('poll')
    const job = await site.begin(ASYNC)
    await eventually('the poll hangs', () => provider.open.poll === 1)
    await crash()
    await wake()
    expect((await site.ended(job.id)).status).toBe('succeeded')
    expect(provider.accepted).toHaveLength(1)
  })
})

test('news of the provider that come while it is being asked are not lost: it is asked once more at once', async () => {
  const clock = movableClock()
  clock.freeze()
  const job = await site.begin(ASYNC)
  await parked()
  const gate = { open: false }
  provider.next.poll.push(async () => {
    while (!gate.open) await pause(2)
    return Response.json({ generation_id: 'gen-1', status: 'pending' })
  })
  clock.advance(500)
  await runDurableObjectAlarm(laneStub('prod'))
  await eventually('it is being asked', () => provider.open.poll === 1)
  await laneStub('prod').poke({ job: job.id, attempt: 1 })
  gate.open = true
  // The clock stands still: the next poll is never due.
  expect((await site.ended(job.id)).status).toBe('succeeded')
  expect(provider.calls.poll).toBe(2)
})

describe('a crash while pictures are stored', () => {
  test('stores them after the restart, without a second generation', async () => {
    provider.hold('image')
    const job = await site.begin()
    await eventually('the download hangs', () => provider.open.image === 1)
    await eventually(
      'what is paid is kept',
      async () => (await laneRows('prod', 'SELECT job FROM attempts')).length === 1,
    )
    await crash()
    await wake()
    const done = await site.ended(job.id)
    expect(done).toMatchObject({ status: 'succeeded', attempts: [{ number: 1, outcome: 'done' }] })
    expect([provider.accepted.length, (await objects()).length]).toEqual([1, 1])
  })

  test('between two pictures leaves no second object of the first', async () => {
    provider.next.image.push(() => {
      provider.hold('image')
      return new Response(PICTURE, { headers: { 'content-length': String(PICTURE.length) } })
    })
    const job = await site.begin({ input: { prompt: 'two', count: 2, ...SYNC } })
    await eventually(
      'the second download hangs',
      async () => provider.calls.image === 2 && (await objects()).length === 1,
    )
    await eventually(
      'what is paid is kept',
      async () => (await laneRows('prod', 'SELECT job FROM attempts')).length === 1,
    )
    await crash()
    await wake()
    const done = await site.ended(job.id)
    expect(done.output?.images).toHaveLength(2)
    expect(provider.accepted).toHaveLength(1)
    expect(await objects()).toEqual([`prod/${job.id}/1-0`, `prod/${job.id}/1-1`])
  })
})

describe('a lane that lost an attempt', () => {
  test('says so when it is asked after a lease, and the outcome is unknown', async () => {
    const clock = movableClock()
    provider.hold('poll')
    const job = await site.begin(ASYNC)
    await parked()
    await runInDurableObject(laneStub('prod'), (_lane, { storage }) => void storage.sql.exec('DELETE FROM attempts'))
    await evictDurableObject(laneStub('prod'))
    await wake()
    expect((await site.job(job.id)).status).toBe('running')
    clock.advance(10_001)
    await wake()
    expect(await site.ended(job.id)).toMatchObject({ status: 'failed', error: { code: 'outcome_unknown' } })
    expect(provider.accepted).toHaveLength(1)
  })

  test('that only took long is left at work', async () => {
    const clock = movableClock()
    provider.hold('generate')
    const job = await site.begin()
    await eventually('the call hangs', () => provider.open.generate === 1)
    for (let leases = 0; leases < 3; leases += 1) {
      clock.advance(10_001)
      await wake()
    }
    expect((await site.job(job.id)).status).toBe('running')
    provider.release('generate')
    expect((await site.ended(job.id)).attempts).toMatchObject([{ outcome: 'done' }])
  })
})

describe('an attempt that never reached its lane', () => {
  test('is sent again where the lane has lived since before, for nothing was bought', async () => {
    const clock = movableClock()
    await site.ended((await site.begin()).id)
    clock.advance(60_000)
    const lost = vi.spyOn(Lane.prototype, 'assign').mockResolvedValueOnce(undefined)
    const job = await site.begin()
    await eventually('the work is handed out', () => lost.mock.calls.length > 0)
    clock.advance(10_001)
    await wake()
    await eventually('it is to be sent again', async () => (await site.job(job.id)).status === 'queued')
    clock.advance(1_000)
    await wake()
    const ended = await site.ended(job.id)
    expect(ended).toMatchObject({
      status: 'succeeded',
      attempts: [{ outcome: 'provider_unavailable' }, { outcome: 'done' }],
    })
    expect(ended.cost_usd).toBe(0.06)
    expect(provider.accepted).toHaveLength(2)
  })
})

describe('reports', () => {
  const endOf = (job: string, attempt: number): Report => ({
    kind: 'end',
    job,
    attempt,
    end: {
      output: { images: [] },
      fault: null,
      costMicros: 999,
      providerRequestId: 'late',
      providerMs: 1,
      storeMs: 1,
      resume: null,
    },
  })

  test('that come twice, late or of nobody change nothing', async () => {
    const done = await site.ended((await site.begin()).id)
    provider.hold('generate')
    const canceled = await site.begin()
    await site.send('POST', `/jobs/${canceled.id}/cancel`)
    await eventually('the call is ended', () => provider.aborted === 1)
    const before = await stateOf('prod')
    const strangers = [
      endOf(done.id, 1),
      endOf(done.id, 2),
      endOf(canceled.id, 1),
      endOf('job_01JAAAAAAAAAAAAAAAAAAAAAAA', 1),
    ]
    const progress: Report = { kind: 'progress', job: done.id, attempt: 1, progress: 0.1, message: 'late' }
    for (let times = 0; times < 3; times += 1) await instanceStub('prod').report(0, toWire([...strangers, progress]), 0)
    expect(await stateOf('prod')).toBe(before)
    expect(await site.job(done.id)).toMatchObject({ status: 'succeeded', progress: 1, cost_usd: done.cost_usd })
  })

  test('of an earlier attempt do not end the next one', async () => {
    provider.next.generate.push((url) => {
      provider.hold('generate')
      return failing(503)(url)
    })
    const job = await site.begin()
    await eventually('the second attempt', async () => (await site.job(job.id)).attempts.length === 2)
    await instanceStub('prod').report(0, toWire([endOf(job.id, 1)]), 0)
    expect((await site.job(job.id)).status).toBe('running')
    provider.release('generate')
    expect((await site.ended(job.id)).attempts.map(({ outcome }) => outcome)).toEqual(['provider_unavailable', 'done'])
  })
})

describe('a picture that cannot be stored', () => {
  test('is fetched again, not generated again, and paid once', async () => {
    provider.next.image.push(failing(503))
    const job = await site.ended((await site.begin()).id)
    expect(job.status).toBe('succeeded')
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['artifact_failed', 'done'])
    expect([provider.calls.generate, provider.accepted.length, (await objects()).length]).toEqual([1, 1, 1])
    expect(job.cost_usd).toBe((await site.ended((await site.begin()).id)).cost_usd)
  })

  test('for good fails the job, which still tells what it cost', async () => {
    provider.next.image.push(failing(404))
    const job = await site.ended((await site.begin()).id)
    expect(job).toMatchObject({ status: 'failed', error: { code: 'artifact_failed', source: 'switchyard' } })
    expect(job.cost_usd).toBeGreaterThan(0)
    expect(provider.calls).toMatchObject({ generate: 1, image: 1 })
  })
})

describe('canceling', () => {
  test('ends the provider call, and the attempt is not reported afterwards', async () => {
    provider.hold('generate')
    const job = await site.begin()
    await eventually('the call hangs', () => provider.open.generate === 1)
    await site.send('POST', `/jobs/${job.id}/cancel`)
    await eventually('the call is ended', () => provider.aborted === 1)
    const told = (await rowsOf('prod', 'SELECT type FROM events ORDER BY seq')).map(({ type }) => type)
    expect(told).toEqual(['job.queued', 'job.started', 'job.canceled'])
  })

  test('a job that waits for the provider ends its polling', async () => {
    const job = await site.begin(ASYNC)
    await parked()
    await site.send('POST', `/jobs/${job.id}/cancel`)
    await eventually(
      'the lane has forgotten it',
      async () => (await laneRows('prod', 'SELECT * FROM attempts')).length === 0,
    )
    const polls = provider.calls.poll
    await runDurableObjectAlarm(laneStub('prod'))
    await pause(20)
    expect(provider.calls.poll).toBe(polls)
    expect((await site.job(job.id)).status).toBe('canceled')
  })

  test('a job whose picture is being stored leaves no object behind that anybody is told of', async () => {
    provider.hold('image')
    const job = await site.begin()
    await eventually('the download hangs', () => provider.open.image === 1)
    await site.send('POST', `/jobs/${job.id}/cancel`)
    await eventually('the download is ended', () => provider.aborted === 1)
    expect(await site.job(job.id)).toMatchObject({ status: 'canceled', output: null })
    expect(await objects()).toEqual([])
  })
})

test('a lane takes six attempts, and the next lane is opened when it is full', async () => {
  provider.hold('generate')
  const jobs = await Promise.all(Array.from({ length: 8 }, () => site.begin()))
  await eventually('eight calls hang', () => provider.open.generate === 8)
  const lanes = await rowsOf(
    'prod',
    "SELECT lane, count(*) AS n FROM jobs WHERE status = 'running' GROUP BY lane ORDER BY lane",
  )
  expect(lanes).toEqual([
    { lane: 0, n: 6 },
    { lane: 1, n: 2 },
  ])
  provider.release('generate')
  await Promise.all(jobs.map(({ id }) => site.ended(id)))
})

test('a picture that is being stored while its instance is deleted does not stay behind', async () => {
  const { put } = env.ARTIFACTS
  let isPutting = false
  let isLetOn = false
  vi.spyOn(Object.getPrototypeOf(env.ARTIFACTS), 'put').mockImplementation(async function (
    this: R2Bucket,
    ...given: unknown[]
  ) {
    isPutting = true
    while (!isLetOn) await pause(2)
    return Reflect.apply(put, this, given)
  })
  await site.begin()
  await eventually('the picture is being stored', () => isPutting)
  const deleted = send('DELETE', site.base, { key: ROOT_KEY })
  await pause(100)
  isLetOn = true
  expect((await deleted).status).toBe(204)
  await pause(100)
  expect(await objects()).toEqual([])
})

test('an instance that is made anew under the name of another is never called for with its secrets', async () => {
  const change = (secret: string) =>
    site.send('PATCH', '/providers/ideogram/credentials/main', { json: { secret: `${PROVIDER_SECRET}${secret}` } })
  provider.hold('generate')
  const { id } = await site.begin(ASYNC)
  await eventually('the call hangs', () => provider.open.generate === 1)
  for (const secret of ['-2', '-3']) expect((await change(secret)).status).toBe(200)
  await pause(100)
  provider.release('generate')
  await site.ended(id)
  expect((await send('DELETE', site.base, { key: ROOT_KEY })).status).toBe(204)
  site = await openSite('prod')
  provider.polledWith.length = 0
  await site.ended((await site.begin(ASYNC)).id)
  expect(new Set(provider.polledWith)).toEqual(new Set([PROVIDER_SECRET]))
})

describe('work on its way to a lane while its instance is deleted', () => {
  /** Assignments arrive when they are let on. */
  const slowWay = () => {
    const { assign } = Lane.prototype
    const way = { underway: 0, isOpen: false }
    vi.spyOn(Lane.prototype, 'assign').mockImplementation(async function (this: Lane, given) {
      way.underway += 1
      while (!way.isOpen) await pause(2)
      await assign.call(this, given)
    })
    return way
  }
  const driven = (jobs: readonly string[]) =>
    runInDurableObject(
      laneStub('prod'),
      async (lane: Lane) => (await lane.check(jobs.map((job) => ({ job, attempt: 1 })))).known,
    )

  test('is stopped with the lane, and does not begin when the instance is gone', async () => {
    provider.hold('generate')
    const way = slowWay()
    const { id } = await site.begin()
    await eventually('it is on its way', () => way.underway === 1)
    let isDeleted = false
    const deleted = send('DELETE', site.base, { key: ROOT_KEY }).finally(() => {
      isDeleted = true
    })
    await pause(200)
    expect(isDeleted).toBe(false)
    way.isOpen = true
    expect((await deleted).status).toBe(204)
    expect(await driven([id])).toEqual([])
    provider.release('generate')
    await pause(200)
    expect([provider.open.generate, await objects()]).toEqual([0, []])
  })

  test('does not begin where it comes with the answer to a report, behind the end of the instance', async () => {
    const { report } = Instance.prototype
    let isHeld = false
    let isLetOn = false
    vi.spyOn(Instance.prototype, 'report').mockImplementation(async function (this: Instance, ...given) {
      const reply = await report.apply(this, given)
      if (fromWire(reply).assign.length === 0) return reply
      isHeld = true
      while (!isLetOn) await pause(2)
      return reply
    })
    await site.send('PUT', '/providers/ideogram', { json: { limits: { concurrency: 1 } } })
    await site.begin()
    const { id } = await site.begin()
    await eventually('the answer brings the next job', () => isHeld)
    const called = provider.calls.generate
    expect((await send('DELETE', site.base, { key: ROOT_KEY })).status).toBe(204)
    isLetOn = true
    await pause(200)
    expect([provider.calls.generate - called, await driven([id]), await objects()]).toEqual([0, [], []])
  })

  test('does not set out where it was submitted in the moment of the deletion', async () => {
    const way = slowWay()
    way.isOpen = true
    const caller: Caller = { requestId: 'req_1', auth: { kind: 'root' } }
    const options = { idempotencyKey: null, fingerprint: '', waitMs: 0 }
    const request = { type: 'image.generate@1', ...ASYNC } as unknown as JobRequest
    await runInDurableObject(instanceStub('prod'), async (instance: Instance) => {
      await Promise.all([instance.destroy(), instance.submit(caller, toWire(request), options)])
    })
    expect([way.underway, provider.calls.generate]).toEqual([0, 0])
  })
})
