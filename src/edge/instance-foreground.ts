import type { Settlement } from '../contract/foreground-rpc.ts'
import { type Caller, fromWire, toWire } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import { type Context, instanceOf } from './context.ts'
import type { Foreground } from './foreground.ts'
import { Settlements } from './settlements.ts'

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
    settle: (ref, end) =>
      settlements.tell(context.params['instance'] ?? '', { ref, end }, (all) => settleAll(stub, all)),
    renew: (refs) => stub().renewCalls(refs),
  }
}

const settlements = new Settlements(() => Date.now())

/** One by one where they cannot be told together: an Instance of an older version takes no message of several. */
const settleAll = async (stub: () => ReturnType<typeof instanceOf>, all: Settlement[]): Promise<void> => {
  try {
    await stub().settleCalls(toWire(all))
  } catch {
    await Promise.all(all.map(({ ref, end }) => insist(() => stub().closeCall(ref, toWire(end)))))
  }
}

/** An Instance that restarts is back in a moment. Only for what may be said twice, such as a close that it has heard. */
export const insist = async <T>(call: () => Promise<T>): Promise<T> => {
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
