import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { describe, expect, test, vi } from 'vitest'
import type { Event } from '../../../src/contract/event.ts'
import { isFull, STREAM_QUEUE, socketSubscriber, streamSubscriber } from '../../../src/instance/subscribers.ts'
import { LIMITS } from '../../../src/limits.ts'
import { instanceStub, openSite, type Site } from '../support/client.ts'
import { openSocket, openStream } from '../support/streams.ts'

const EVENT_BYTES = 64 * 1024
const subscription = { filter: { job: null, project: null }, keyId: null, expiresAtMs: null, cursor: 0, bundled: false }
const event: Event = { seq: 1, type: 'job.queued', job: 'job_1', at: '2026-11-21T00:00:00.000Z', data: {} }

/** A story too long to be sent in one go. */
const tell = async (events: number): Promise<Site> => {
  const site = await openSite('prod')
  await runInDurableObject(instanceStub('prod'), (_instance, { storage }) => {
    const data = JSON.stringify({ message: 'x'.repeat(EVENT_BYTES) })
    for (let seq = 1; seq <= events; seq += 1)
      storage.sql.exec(
        "INSERT INTO events (seq, job, project, type, at_ms, data) VALUES (?, 'job_1', NULL, 'job.retrying', ?, ?)",
        seq,
        Date.now(),
        data,
      )
  })
  await evictDurableObject(instanceStub('prod'))
  return site
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1)

describe('a socket', () => {
  test('whose client says nothing is closed after a bounded amount, and resumes where it was', async () => {
    const events = Math.ceil((1.5 * LIMITS.socketUnheardBytes) / EVENT_BYTES)
    const site = await tell(events)
    const seen: number[] = []
    let closed = 0
    while (seen.length < events) {
      const socket = await openSocket(`${site.base}/events?after=${seen.length}`, { key: site.key })
      const wanted = Math.min(events - seen.length, Math.floor(LIMITS.socketUnheardBytes / (EVENT_BYTES + 200)))
      await socket.until(wanted)
      if (seen.length + socket.events.length < events) {
        expect((await socket.untilClosed()).code).toBe(1013)
        closed += 1
      }
      seen.push(...socket.events.map(({ seq }) => seq))
      await socket.close()
    }
    expect(seen).toEqual(upTo(events))
    expect(closed).toBe(1)
  })

  test('whose client is heard now and then goes on without end', () => {
    let heard = 0
    const socket = { send: vi.fn(), close: vi.fn() }
    const subscriber = socketSubscriber(socket, subscription, true, () => heard)
    const text = 'x'.repeat(1024 * 1024)
    const sends = (5 * LIMITS.socketUnheardBytes) / text.length
    for (let sent = 0; sent < sends; sent += 1) {
      if (sent % 10 === 0) heard += 1
      subscriber.send([{ event, text }])
    }
    expect(socket.send).toHaveBeenCalledTimes(sends)
    // From here on it says nothing more.
    const all = () => {
      for (;;) subscriber.send([{ event, text }])
    }
    expect(all).toThrow('not heard')
    expect(socket.send.mock.calls.length - sends).toBeLessThan((2 * LIMITS.socketUnheardBytes) / text.length)
  })

  test('that is sent lists is sent none much larger than a client can parse at once', () => {
    const send = vi.fn<(text: string) => void>()
    const lists = socketSubscriber({ send, close: vi.fn() }, { ...subscription, bundled: true }, true, () => null)
    const text = JSON.stringify('x'.repeat(EVENT_BYTES))
    const lines = Array.from({ length: 20 }, () => ({ event, text }))
    lists.send(lines)
    const sent = send.mock.calls.map(([list]) => list)
    expect(sent.flatMap((list) => JSON.parse(list) as unknown[])).toHaveLength(lines.length)
    for (const list of sent) expect(list.length).toBeLessThan(LIMITS.pieceCharacters + 2 * text.length)
    expect(sent.length).toBeLessThan(lines.length)
  })

  test('is measured in bytes, not in characters', () => {
    const send = vi.fn()
    const subscriber = socketSubscriber({ send, close: vi.fn() }, subscription, true, () => null)
    const text = '€'.repeat(1024 * 1024)
    const all = () => {
      for (;;) subscriber.send([{ event, text }])
    }
    expect(all).toThrow('not heard')
    expect(send).toHaveBeenCalledTimes(Math.floor(LIMITS.socketUnheardBytes / (3 * text.length)))
  })
})

describe('a stream', () => {
  test('whose reader stalls holds a bounded amount, whatever the size of the events', () => {
    for (const size of [10, 1_000, 100_000]) {
      let queued = 0
      const controller = {
        get desiredSize() {
          return LIMITS.streamBacklogBytes - queued
        },
        enqueue: (chunk?: Uint8Array) => {
          queued += Number(STREAM_QUEUE.size?.(chunk as Uint8Array))
        },
        close: vi.fn(),
      }
      const subscriber = streamSubscriber(controller, new TextEncoder(), subscription, vi.fn())
      const all = () => {
        for (;;) subscriber.send([{ event, text: 'x'.repeat(size) }])
      }
      expect(all).toThrow('too slow')
      expect(isFull(controller)).toBe(true)
      expect(queued).toBeGreaterThanOrEqual(LIMITS.streamBacklogBytes)
      expect(queued).toBeLessThan(LIMITS.streamBacklogBytes + size + 100)
    }
  })

  test('that is dropped tells what it holds, and resumes where it was', async () => {
    const events = Math.ceil((1.5 * LIMITS.streamBacklogBytes) / EVENT_BYTES)
    const site = await tell(events)
    const first = await openStream(`${site.base}/events?after=0`, { key: site.key })
    await first.untilClosed()
    expect(first.events.length).toBeGreaterThan(0)
    expect(first.events.length).toBeLessThan(events)
    const rest = await openStream(`${site.base}/events?after=${first.events.length}`, { key: site.key })
    await rest.until(events - first.events.length)
    expect([...first.events, ...rest.events].map(({ seq }) => seq)).toEqual(upTo(events))
    await rest.close()
  })
})
