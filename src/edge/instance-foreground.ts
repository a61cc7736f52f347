import { type Caller, fromWire, toWire } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import { type Context, instanceOf } from './context.ts'
import type { Foreground } from './foreground.ts'

/** `cost` is told apart, since the Worker counts it without asking. */
export const instanceForeground = (context: Context, caller: Caller, cost: Foreground['cost']): Foreground => {
  // A new stub for every call: after a failure the old one is broken.
  const stub = () => instanceOf(context)
  return {
    cost,
    open: async (call) => {
      const opened = await stub().openCall(caller, toWire(call))
      if (!opened.ok) return opened
      return { ok: true, value: { opening: fromWire(opened.value.opening), quotas: opened.value.quotas } }
    },
    close: async (ref, end) => fromWire(await insist(() => stub().closeCall(ref, toWire(end)))),
    renew: (refs) => stub().renewCalls(refs),
  }
}

/** An Instance that restarts is back in a moment; a close that it has heard changes nothing. */
const insist = async <T>(call: () => Promise<T>): Promise<T> => {
  for (let tries = 1; ; tries += 1) {
    try {
      return await call()
    } catch (error) {
      if (tries >= LIMITS.closeTries) throw error
      await new Promise((resolve) => setTimeout(resolve, CLOSE_RETRY_MS * 2 ** (tries - 1)))
    }
  }
}

const CLOSE_RETRY_MS = 100
