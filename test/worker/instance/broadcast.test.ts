import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Event, EventType } from '../../../src/contract/event.ts'
import { Broadcast } from '../../../src/instance/broadcast.ts'
import type { EventStore } from '../../../src/instance/event-store.ts'
import { LIMITS } from '../../../src/limits.ts'

/** When subscribers are told, and in which order. */

const NOW = 1_800_000_000_000

beforeEach(() => void vi.useFakeTimers({ now: NOW }))
afterEach(() => void vi.useRealTimers())

const openBroadcast = () => {
  const kept: Event[] = []
  const state = {
    setWebSocketAutoResponse: () => {},
    getWebSockets: () => [],
    storage: { sync: async () => {} },
  } as unknown as DurableObjectState
  const events = {
    bounds: () => ({ first: 1 }),
    isWhole: () => true,
    after: (cursor: number) => ({ events: kept.filter(({ seq }) => seq > cursor), cursor: kept.length }),
  } as unknown as EventStore
  const broadcast = new Broadcast(state, events, () => kept.length)
  const tell = (type: EventType, job = 'a') => {
    const event: Event = { seq: kept.length + 1, type, job, at: new Date().toISOString(), data: {} }
    kept.push(event)
    broadcast.publish([{ event, project: null }], Date.now())
  }
  const progress = (job = 'a') =>
    broadcast.progress({ id: job, project: null, batch: null }, Date.now(), { progress: 0.5 })
  const listen = (after: number) => {
    const heard: [string, number][] = []
    const subscription = {
      filter: { job: null, project: null },
      keyId: null,
      expiresAtMs: null,
      cursor: after,
      bundled: false,
    }
    const reader = broadcast.openStream(subscription, false).body?.getReader()
    const read = async (): Promise<void> => {
      const piece = await reader?.read()
      if (!piece?.value) return
      for (const [, json] of new TextDecoder().decode(piece.value).matchAll(/^data: (.*)$/gm)) {
        const { type, seq } = JSON.parse(json ?? '') as Event
        heard.push([type, seq])
      }
      return read()
    }
    void read()
    return heard
  }
  return { broadcast, tell, progress, listen }
}

test('a socket that is kept awake is heard by what it says, not by what the platform answers for sleepers', () => {
  const asked = vi.fn(() => null)
  const state = {
    setWebSocketAutoResponse: () => {},
    getWebSockets: () => [],
    getWebSocketAutoResponseTimestamp: asked,
  } as unknown as DurableObjectState
  const events = { bounds: () => ({ first: 1 }), after: () => ({ events: [], cursor: 0 }) } as unknown as EventStore
  const broadcast = new Broadcast(state, events, () => 0)
  const common = { keyId: null, expiresAtMs: null, cursor: 0, bundled: false }
  for (const of of [
    { job: 'a', batch: null },
    { job: null, batch: 'b' },
  ])
    broadcast.openSocket({ ...common, filter: { ...of, project: null } }, false)
  expect(asked).not.toHaveBeenCalled()
})

describe('subscribers', () => {
  test('are told at once, and what follows within a moment together, in order', async () => {
    const { tell, progress, listen } = openBroadcast()
    const heard = listen(0)
    tell('job.queued')
    await vi.advanceTimersByTimeAsync(0)
    expect(heard).toEqual([['job.queued', 1]])
    tell('job.started')
    progress()
    tell('job.succeeded')
    await vi.advanceTimersByTimeAsync(LIMITS.broadcastEveryMs - 1)
    expect(heard).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(1)
    expect(heard.slice(1)).toEqual([
      ['job.started', 2],
      ['job.progress', 2],
      ['job.succeeded', 3],
    ])
  })

  test.each([
    [3, LIMITS.broadcastEveryMs],
    [30, 30 * LIMITS.broadcastPerSubscriberMs],
    [200, LIMITS.broadcastPauseMaxMs],
  ])('are told the less often the more they are: %i every %i ms', async (count, everyMs) => {
    const { tell, listen } = openBroadcast()
    const all = Array.from({ length: count }, () => listen(0))
    const heard = () => all.map(({ length }) => length)
    tell('job.queued')
    await vi.advanceTimersByTimeAsync(0)
    expect(new Set(heard())).toEqual(new Set([1]))
    tell('job.started')
    await vi.advanceTimersByTimeAsync(everyMs - 1)
    expect(new Set(heard())).toEqual(new Set([1]))
    tell('job.succeeded')
    await vi.advanceTimersByTimeAsync(1)
    expect(new Set(heard())).toEqual(new Set([3]))
  })

  test('are told before the moment is over where telling would hold the thread for long', async () => {
    const { broadcast, tell } = openBroadcast()
    const subscription = {
      filter: { job: 'a', project: null },
      keyId: null,
      expiresAtMs: null,
      cursor: 0,
      bundled: false,
    }
    for (let i = 0; i < 16; i += 1) broadcast.openSocket(subscription, false)
    const sent = vi.spyOn(WebSocket.prototype, 'send').mockReturnValue()
    tell('job.queued')
    await vi.advanceTimersByTimeAsync(0)
    expect(sent).toHaveBeenCalledTimes(16)
    const events = LIMITS.broadcastTexts / 16
    for (let i = 1; i < events; i += 1) tell('job.retrying')
    await vi.advanceTimersByTimeAsync(1)
    expect(sent).toHaveBeenCalledTimes(16)
    tell('job.retrying')
    await vi.advanceTimersByTimeAsync(1)
    expect(sent).toHaveBeenCalledTimes(16 + LIMITS.broadcastTexts)
  })

  test('who joins in between hears no progress from before what it was told', async () => {
    const { tell, progress, listen } = openBroadcast()
    const early = listen(0)
    tell('job.queued')
    tell('job.started')
    progress()
    tell('job.succeeded')
    const late = listen(1)
    await vi.advanceTimersByTimeAsync(LIMITS.broadcastEveryMs)
    expect(early.map(([type]) => type)).toEqual(['job.queued', 'job.started', 'job.progress', 'job.succeeded'])
    expect(late).toEqual([
      ['job.started', 2],
      ['job.succeeded', 3],
    ])
  })

  test('are told what is left before all of them are closed', async () => {
    const { broadcast, tell, listen } = openBroadcast()
    const heard = listen(0)
    tell('job.queued')
    tell('job.canceled')
    broadcast.closeAll('instance deleted')
    await vi.advanceTimersByTimeAsync(0)
    expect(heard.map(([, seq]) => seq)).toEqual([1, 2])
    expect(vi.getTimerCount()).toBe(0)
  })

  test('one whose end cannot be told keeps nothing from the others', async () => {
    const { broadcast, tell, listen } = openBroadcast()
    const gone = broadcast.openStream(
      { filter: { job: 'a', project: null }, keyId: null, expiresAtMs: NOW + 5, cursor: 0, bundled: false },
      false,
    )
    await gone.body?.cancel()
    const heard = listen(0)
    tell('job.queued')
    await vi.advanceTimersByTimeAsync(10)
    tell('job.succeeded')
    await vi.advanceTimersByTimeAsync(LIMITS.broadcastEveryMs)
    expect(heard.map(([, seq]) => seq)).toEqual([1, 2])
  })
})
