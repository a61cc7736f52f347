import { fault } from '../../../src/contract/fault.ts'
import type { CallEnd, CallNext, OpenCall } from '../../../src/contract/foreground-rpc.ts'
import { type AttemptRef, type Caller, fromWire, toWire } from '../../../src/contract/rpc.ts'
import { instanceStub, must, openSite, type Site } from './client.ts'

/** Calls on the line, as the Worker that answers a client opens and closes them at the Instance. */

export const MODEL = 'openai/gpt-5-mini'
const ROOT: Caller = { auth: { kind: 'root' }, requestId: 'req_1' }

const CALL: OpenCall = {
  type: 'text.generate@1',
  candidates: [{ model: MODEL, expected: { inputTokens: 100, outputTokens: 100 } }],
  skipped: [],
  prefer: null,
  fallback: true,
  project: null,
  metadata: {},
  maxCostMicros: null,
  deadlineS: 600,
  waitMs: 10_000,
}

export const END: CallEnd = {
  fault: null,
  usage: null,
  delivered: false,
  abandoned: false,
  serviceTier: null,
  providerRequestId: null,
  providerMs: 1,
  rate: { requests: null, tokens: null },
}
export const DOWN: CallEnd = { ...END, fault: fault('provider_unavailable', 'It is down.') }

/** An instance that can call the model. */
export const openLine = async (): Promise<Site> => {
  const site = await openSite('prod')
  const json = { name: 'main', secret: 'sk-secret-of-the-tests-0123456789' }
  await must(201, site.send('POST', '/providers/openai/credentials', { json }))
  return site
}

/** Answered when the call may begin, or may not any more. */
export const dial = (more: Partial<OpenCall> = {}) => instanceStub('prod').openCall(ROOT, toWire({ ...CALL, ...more }))

export const open = async (more: Partial<OpenCall> = {}): Promise<AttemptRef> => {
  const opened = await dial(more)
  if (!opened.ok) throw new Error(opened.fault.message)
  const { job, attempt } = fromWire(opened.value.opening)
  return { job, attempt }
}

export const close = async (ref: AttemptRef, end: CallEnd): Promise<CallNext> =>
  fromWire(await instanceStub('prod').closeCall(ref, toWire(end)))
