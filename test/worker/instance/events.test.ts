import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Event } from '../../../src/contract/event.ts'
import { LIMITS } from '../../../src/limits.ts'
import { fetchWorker, instanceStub, openSite, ROOT_KEY, rowsOf, type Site, send } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import { type FakeIdeogram, fakeIdeogram } from '../support/fake-ideogram.ts'
import { durable, openSocket, openStream, type Subscriber } from '../support/streams.ts'

const STORY = ['job.queued', 'job.started', 'job.succeeded']

let site: Site
let provider: FakeIdeogram
const open: Subscriber[] = []
const keep = async <T extends Subscriber>(opening: Promise<T>): Promise<T> => {
  const subscriber = await opening
  open.push(subscriber)
  return subscriber
}
const socket = (path: string, options: Parameters<typeof openSocket>[1] = { key: site.key }) =>
  keep(openSocket(site.base + path, options))
const stream = (path: string, options: Parameters<typeof openStream>[1] = { key: site.key }) =>
  keep(openStream(site.base + path, options))

beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})
afterEach(async () => {
  for (const subscriber of open.splice(0)) await subscriber.close()
})

const bundled = (path: string) => `${path}${path.includes('?') ? '&' : '?'}bundled=true`

const runJobs = async (count: number) => {
  const jobs = await Promise.all(Array.from({ length: count }, () => site.begin()))
  return Promise.all(jobs.map(({ id }) => site.ended(id)))
}
const seqs = (events: Event[]) => durable(events).map(({ seq }) => seq)
const upTo = (last: number, first = 1) => Array.from({ length: last - first + 1 }, (_, i) => first + i)

describe.each([
  ['a WebSocket', (path: string) => socket(path)],
  ['a WebSocket of lists', (path: string) => socket(bundled(path))],
  ['server-sent events', (path: string) => stream(path)],
] as const)('over %s', (_name, subscribe) => {
  test('without `after` only what happens from now on is told', async () => {
    await runJobs(1)
    const subscriber = await subscribe('/events')
    const [job] = await runJobs(1)
    await eventually('the last event', () => durable(subscriber.events).length >= 3)
    expect(durable(subscriber.events).map(({ seq, type, job }) => [seq, type, job])).toEqual(
      STORY.map((type, i) => [4 + i, type, job?.id]),
    )
  })

  test('with `after` what was missed is told first', async () => {
    await runJobs(2)
    const subscriber = await subscribe('/events?after=2')
    await runJobs(1)
    await eventually('the last event', () => durable(subscriber.events).length >= 7)
    expect(seqs(subscriber.events)).toEqual(upTo(9, 3))
  })

  test('`after` beyond the last event tells what comes next', async () => {
    const subscriber = await subscribe('/events?after=1000000')
    await runJobs(1)
    await eventually('the last event', () => durable(subscriber.events).length >= 3)
    expect(seqs(subscriber.events)).toEqual([1, 2, 3])
  })

  test('the subscription of a job ends with its last event', async () => {
    provider.hold('generate')
    const job = await site.begin()
    const subscriber = await subscribe(`/jobs/${job.id}/events`)
    await site.begin()
    provider.release('generate')
    const { code } = await subscriber.untilClosed()
    expect(code).toBe(subscriber.events.length > 0 && 'blocks' in subscriber ? 0 : 1000)
    expect(durable(subscriber.events).map(({ type, job: of }) => [type, of])).toEqual(
      STORY.map((type) => [type, job.id]),
    )
  })

  test('the subscription of a job that has ended tells its story and ends', async () => {
    const [job] = await runJobs(1)
    for (const query of ['', '?after=3']) {
      const subscriber = await subscribe(`/jobs/${job?.id}/events${query}`)
      await subscriber.untilClosed()
      expect(durable(subscriber.events).map(({ type }) => type)).toEqual(query ? [] : STORY)
    }
  })

  test('progress bears the number of the last durable event', async () => {
    const subscriber = await subscribe('/events')
    provider.hold('generate')
    const jobs = await Promise.all([site.begin(), site.begin()])
    const progress = () => subscriber.events.filter(({ type }) => type === 'job.progress')
    await eventually('progress', () => progress().length > 0)
    provider.release('generate')
    for (const { id } of jobs) await site.ended(id)
    await eventually('the last event', () => durable(subscriber.events).length >= 6)
    let last = 0
    for (const event of subscriber.events) {
      if (event.type === 'job.progress') {
        expect(event.seq).toBe(last)
        expect(event.data).toEqual({ progress: expect.any(Number), message: expect.any(String) })
      } else last = event.seq
    }
  })

  test('what is no longer kept is told as a gap', async () => {
    await runJobs(2)
    await runInDurableObject(
      instanceStub('prod'),
      (_instance, { storage }) => void storage.sql.exec('DELETE FROM events WHERE seq <= 4'),
    )
    const subscriber = await subscribe('/events?after=1')
    await subscriber.until(3)
    expect(subscriber.events[0]).toMatchObject({ seq: 4, type: 'stream.gap', job: null, data: { after: 1, first: 5 } })
    expect(seqs(subscriber.events)).toEqual([4, 5, 6])
    const whole = await subscribe('/events?after=4')
    await whole.until(2)
    expect(seqs(whole.events)).toEqual([5, 6])
  })

  test('a revoked key sees nothing more, at once', async () => {
    const made = await site.makeKey({ name: 'reader', role: 'user' })
    const path = `${site.base}/events`
    const isSocket = 'texts' in (await subscribe('/events'))
    const subscriber = await keep<Subscriber>(
      isSocket ? openSocket(path, { key: made.key }) : openStream(path, { key: made.key }),
    )
    await site.send('DELETE', `/keys/${made.id}`)
    expect((await subscriber.untilClosed()).code).toBe(isSocket ? 1008 : 0)
    await runJobs(1)
    expect(subscriber.events).toEqual([])
  })

  test('a key that expires sees nothing more, progress included', async () => {
    const clock = movableClock()
    const expires_at = new Date(Date.now() + 60_000).toISOString()
    const made = await site.makeKey({ name: 'reader', role: 'user', expires_at })
    const isSocket = 'texts' in (await subscribe('/events'))
    const path = `${site.base}/events`
    const subscriber = await keep<Subscriber>(
      isSocket ? openSocket(path, { key: made.key }) : openStream(path, { key: made.key }),
    )
    provider.hold('generate')
    provider.hold('image')
    const job = await site.begin()
    await eventually('the first progress', () => subscriber.events.some(({ type }) => type === 'job.progress'))
    const before = subscriber.events.length
    clock.advance(61_000)
    provider.release('generate')
    await eventually('the next progress', async () => (await site.job(job.id)).progress > 0.5)
    provider.release('image')
    await site.ended(job.id)
    await subscriber.untilClosed()
    expect(subscriber.events.slice(before)).toEqual([])
  })
})

describe('a WebSocket', () => {
  test('answers ping with pong', async () => {
    const subscriber = await socket('/events')
    subscriber.say('ping')
    await eventually('the answer', () => subscriber.texts.includes('pong'))
    subscriber.say('anything else')
    subscriber.say('ping')
    await eventually('the second answer', () => subscriber.texts.length === 2)
    expect(subscriber.texts).toEqual(['pong', 'pong'])
  })

  test('goes on over hibernation, and tells nothing twice', async () => {
    const whole = await socket('/events?after=0')
    await runJobs(1)
    await eventually('the first story', () => durable(whole.events).length === 3)
    await evictDurableObject(instanceStub('prod'), { webSockets: 'hibernate' })
    whole.say('ping')
    await eventually('the answer of one that sleeps', () => whole.texts.includes('pong'))
    await runJobs(2)
    await eventually('the rest', () => durable(whole.events).length >= 9)
    expect(seqs(whole.events)).toEqual(upTo(9))
    expect(whole.closed).toBeNull()
  })

  test('sends a list of what there is at the moment where it was asked to, also after hibernation', async () => {
    await runJobs(3)
    const subscriber = await socket(bundled('/events?after=0'))
    await subscriber.until(9)
    expect(subscriber.lists).toEqual([9])
    await evictDurableObject(instanceStub('prod'), { webSockets: 'hibernate' })
    await runJobs(1)
    await eventually('the rest', () => durable(subscriber.events).length >= 12)
    expect(seqs(subscriber.events)).toEqual(upTo(12))
    expect(subscriber.lists.reduce((sum, length) => sum + length)).toBe(subscriber.events.length)
    const plain = await socket('/events?after=0&bundled=false')
    await plain.until(12)
    expect(plain.lists).toEqual([])
  })

  test('that is asked for lists in other words is refused', async () => {
    const answer = await send('GET', `${site.base}/events?bundled=1`, {
      key: site.key,
      headers: { upgrade: 'websocket' },
    })
    expect([answer.status, answer.body]).toMatchObject([400, { error: { param: 'bundled' } }])
  })

  test('is still closed with its key after hibernation', async () => {
    const made = await site.makeKey({ name: 'reader', role: 'user' })
    const subscriber = await socket('/events', { key: made.key })
    await evictDurableObject(instanceStub('prod'), { webSockets: 'hibernate' })
    await site.send('DELETE', `/keys/${made.id}`)
    expect((await subscriber.untilClosed()).code).toBe(1008)
  })

  test('is closed with its instance', async () => {
    const subscriber = await socket('/events')
    await send('DELETE', site.base, { key: 'root-key-of-the-tests-0123456789abcdef' })
    expect(await subscriber.untilClosed()).toMatchObject({ code: 1008, reason: 'instance deleted' })
  })
})

describe('server-sent events', () => {
  test('bear their number as id, all but progress', async () => {
    const subscriber = await stream('/events')
    await runJobs(1)
    await eventually('the last event', () => durable(subscriber.events).length >= 3)
    for (const block of subscriber.blocks) {
      const isProgress = block.includes('event: job.progress')
      expect(/^id: \d+$/m.test(block)).toBe(!isProgress)
      expect(block).toMatch(/^event: job\.\w+$/m)
    }
  })

  test('resume with Last-Event-ID, and `after` goes before it', async () => {
    await runJobs(1)
    const byHeader = await stream('/events', { key: site.key, headers: { 'last-event-id': '1' } })
    expect(seqs(await byHeader.until(2))).toEqual([2, 3])
    const byQuery = await stream('/events?after=2', { key: site.key, headers: { 'last-event-id': '0' } })
    expect(seqs(await byQuery.until(1))).toEqual([3])
  })
})

describe('dropping and resuming', () => {
  test('ten times, over both transports, every durable event is seen once and in order', {
    timeout: 30_000,
  }, async () => {
    const story: number[] = []
    const work = (async () => {
      for (let i = 0; i < 12; i += 1) await runJobs(5)
    })()
    for (let drop = 0; drop < 10; drop += 1) {
      const last = story.at(-1) ?? 0
      const subscriber =
        drop % 2 === 0
          ? await socket(`/events?after=${last}`)
          : await stream('/events', { key: site.key, headers: { 'last-event-id': String(last) } })
      await eventually('some events', () => durable(subscriber.events).length > drop)
      story.push(...seqs(subscriber.events).slice(0, 7 + drop))
      await subscriber.close()
    }
    await work
    const rest = await socket(`/events?after=${story.at(-1)}`)
    await eventually('the end of the story', () => story.length + durable(rest.events).length >= 180)
    story.push(...seqs(rest.events))
    expect(story).toEqual(upTo(180))
    expect(await rowsOf('prod', 'SELECT count(*) AS n FROM events')).toEqual([{ n: 180 }])
  })
})

describe('a ticket', () => {
  const upgrade = (ticket: string) =>
    fetchWorker('GET', `${site.base}/events?after=0&ticket=${ticket}`, { key: null, headers: { upgrade: 'websocket' } })
  const ask = async (key = site.key) => {
    const answer = await send<{ ticket: string; expires_at: string }>('POST', `${site.base}/tickets`, { key })
    expect(answer.status).toBe(201)
    return answer.body
  }

  test('opens one socket without a key, and no second', async () => {
    await runJobs(1)
    const { ticket, expires_at } = await ask()
    expect(Date.parse(expires_at) - Date.now()).toBeGreaterThan(50_000)
    const subscriber = await socket(`/events?after=0&ticket=${ticket}`, { key: null })
    expect(seqs(await subscriber.until(3))).toEqual([1, 2, 3])
    expect((await upgrade(ticket)).status).toBe(404)
    expect(JSON.stringify(await rowsOf('prod', 'SELECT * FROM tickets'))).not.toContain(ticket)
  })

  test('serves once, however many ask at the same time', async () => {
    const { ticket } = await ask()
    const answers = await Promise.all(Array.from({ length: 5 }, () => upgrade(ticket)))
    expect(answers.map(({ status }) => status).sort()).toEqual([101, 404, 404, 404, 404])
    for (const { webSocket } of answers) {
      webSocket?.accept()
      webSocket?.close(1000)
    }
  })

  test('that has expired shows nothing', async () => {
    const clock = movableClock()
    const { ticket } = await ask()
    clock.advance(60_001)
    expect((await upgrade(ticket)).status).toBe(404)
  })

  test('of a revoked key shows nothing, and of a key of one project only that project', async () => {
    const made = await site.makeKey({ name: 'reader', role: 'user', project: 'p' })
    const [first, second] = [await ask(made.key), await ask(made.key)]
    await site.ended((await site.begin()).id)
    const mine = await site.ended((await site.begin({ project: 'p' })).id)
    const subscriber = await socket(`/events?after=0&ticket=${first.ticket}`, { key: null })
    await subscriber.until(3)
    expect(new Set(subscriber.events.map(({ job }) => job))).toEqual(new Set([mine.id]))
    await site.send('DELETE', `/keys/${made.id}`)
    await subscriber.untilClosed()
    expect((await upgrade(second.ticket)).status).toBe(404)
  })

  test('is there for others where one key has as many open as it may, and for all until too many are', async () => {
    const greedy = await site.makeKey({ name: 'greedy', role: 'user' })
    const open = (keys: string, count: number, key: string) =>
      rowsOf(
        'prod',
        `INSERT INTO tickets WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
         SELECT '${keys} ' || i, ${key}, ${Date.now() + 60_000} FROM n`,
      )
    const statusFor = async (key: string) => (await send('POST', `${site.base}/tickets`, { key })).status
    await open('greedy', LIMITS.ticketsPerKey - 1, `'${greedy.id}'`)
    expect([await statusFor(greedy.key), await statusFor(greedy.key)]).toEqual([201, 429])
    expect([await statusFor(site.key), await statusFor(ROOT_KEY)]).toEqual([201, 201])
    await open('others', LIMITS.ticketsOpen - LIMITS.ticketsPerKey - 3, "'key ' || i")
    expect([await statusFor(site.key), await statusFor(site.key), await statusFor(ROOT_KEY)]).toEqual([201, 429, 429])
  })

  test('that never was is as unknown as one that has served', async () => {
    const never = await upgrade('A'.repeat(43))
    expect(never.status).toBe(404)
    expect(await never.json()).toMatchObject({ error: { code: 'not_found' } })
  })
})
