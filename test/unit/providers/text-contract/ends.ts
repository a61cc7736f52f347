import { describe, expect, it } from 'vitest'
import { inputOf } from '../text-call.ts'
import type { Bench } from '../text-contract-suite.ts'
import { type Circumstances, MODES } from './attempts.ts'
import { expectFault } from './faults.ts'

/** A call whose caller ends it: the provider learns of it at once. */

export const endsWithItsCaller = ({ attempts, stand }: Bench): void => {
  /** Ends a call once the provider has taken it, or with its first text. */
  const leaving = async (mode: 'whole' | 'stream', prompt: string, when: 'taken' | 'text') => {
    const before = stand().stats()
    const abort = new AbortController()
    const more: Circumstances = { signal: abort.signal, ...(when === 'text' ? { onText: () => abort.abort() } : {}) }
    const asking = attempts.ask(mode, inputOf(`hello [[chunks:60]] ${prompt}`), more)
    if (when === 'taken') {
      await expect.poll(() => stand().stats().accepted, { interval: 2 }).toBe(before.accepted + 1)
      expect(stand().stats().left).toBe(before.left)
      abort.abort()
    }
    const asked = await asking
    expectFault(asked.fault, ['canceled', 'unknown'], stand())
    expect(asked.sent).toBe(true)
    await expect.poll(() => stand().stats().left, { interval: 2 }).toBe(before.left + 1)
    return asked
  }

  describe('ends with its caller', () => {
    it.each(MODES)('while nothing has come yet (%s)', async (mode) => {
      expect((await leaving(mode, '[[stall]]', 'taken')).begun).toBe(false)
    })

    it('in the middle of an answer', async () => {
      expect((await leaving('whole', '[[stall_half]]', 'taken')).begun).toBe(false)
    })

    it('while its first text is waited for', async () => {
      expect((await leaving('stream', '[[stall_stream:0]]', 'taken')).begun).toBe(false)
    })

    it('in the middle of a stream', async () => {
      expect((await leaving('stream', '[[stall_stream:6]]', 'text')).begun).toBe(true)
    })

    it.each(MODES)('before it is sent, and sends nothing (%s)', async (mode) => {
      const before = stand().stats()
      const { fault, sent, requests } = await attempts.ask(mode, inputOf('hello'), { signal: AbortSignal.abort() })
      expectFault(fault, ['canceled', 'unknown'], stand())
      expect([sent, requests, stand().stats().accepted]).toEqual([false, [], before.accepted])
    })
  })
}
