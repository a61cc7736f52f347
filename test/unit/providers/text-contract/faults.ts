import { createServer } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { AttemptFaultCode } from '../../../../src/contract/fault.ts'
import { FAULT_TABLE } from '../../../../src/core/outcome.ts'
import type { Failed } from '../../../../src/providers/provider.ts'
import { inputOf } from '../text-call.ts'
import type { Bench, TextPrompts, TextStand } from '../text-contract-suite.ts'
import { MODES, type Mode } from './attempts.ts'

/** What becomes of every way to fail: its code, and whether it was sent and may have been paid for. */

const PRIVATE = 'the private plan of the north sea'

type Bought = 'nothing' | 'unknown'
type Row = [what: string, prompt: string, code: AttemptFaultCode, bought: Bought, more?: Partial<Failed>]

/** What a provider refuses before it bills anything. */
export const refusalsOf = (prompts: TextPrompts): Row[] => [
  ['401', prompts.badKey, 'provider_auth_failed', 'nothing'],
  ['403', prompts.forbidden, 'provider_auth_failed', 'nothing'],
  ['404 of a model', prompts.noModel, 'provider_rejected', 'nothing', { param: 'model' }],
  ['400', prompts.badInput, 'provider_rejected', 'nothing'],
  ['429', prompts.rateLimited, 'provider_rate_limited', 'nothing'],
  [
    '429 with the wish to wait',
    prompts.rateLimitedForSevenSeconds,
    'provider_rate_limited',
    'nothing',
    { retryAfterMs: 7_000 },
  ],
  ...(prompts.quotaExhausted === null
    ? []
    : ([['a spent quota', prompts.quotaExhausted, 'provider_quota_exhausted', 'nothing']] satisfies Row[])),
  ['500', '[[fail:500]]', 'provider_unavailable', 'nothing'],
  ['an overload', prompts.overloaded, 'provider_unavailable', 'nothing'],
  ['a connection that is cut before it was accepted', '[[cut_before]]', 'outcome_unknown', 'unknown'],
]

/** What it takes, bills and then spoils, whether it was asked for a stream or not. */
const SPOILT: Row[] = [
  ['a connection that is cut before the answer', '[[cut_after]]', 'outcome_unknown', 'unknown'],
  ['a page in place of JSON', '[[html]]', 'provider_protocol_error', 'unknown'],
  ['silence before the first byte', '[[stall]]', 'provider_timeout', 'unknown'],
]

export const SPOILT_WHOLE: Row[] = [
  ...SPOILT,
  ['an empty body', '[[empty]]', 'provider_protocol_error', 'unknown'],
  ['text that is no JSON', '[[garbage]]', 'provider_protocol_error', 'unknown'],
  ['JSON of another shape', '[[malformed]]', 'provider_protocol_error', 'unknown'],
  ['half an answer', '[[truncated]]', 'outcome_unknown', 'unknown'],
  ['silence in the middle of an answer', '[[stall_half]]', 'outcome_unknown', 'unknown'],
  ['an error inside a 200', '[[error_200]]', 'provider_unavailable', 'nothing'],
]

const spoiltStreams = (prompts: TextPrompts): Row[] => [
  ...SPOILT,
  ['a stream without an event', '[[empty]]', 'outcome_unknown', 'unknown'],
  ['an error before the first text', prompts.errorEvent(0), 'provider_unavailable', 'nothing'],
  ['a stream that is cut before the first text', '[[cut:1]]', 'outcome_unknown', 'unknown'],
  ['an event that is no JSON, before the first text', '[[malformed:0]]', 'provider_protocol_error', 'unknown'],
]

/** Behind the first text nothing may follow: the code is what the client is told, and what was generated is paid for. */
const brokenStreams = (prompts: TextPrompts): Row[] => [
  ['an error', prompts.errorEvent(12), 'provider_unavailable', 'nothing'],
  ['a cut', '[[cut:2500]]', 'outcome_unknown', 'unknown'],
  ['an event that is no JSON', '[[malformed:12]]', 'provider_protocol_error', 'unknown'],
]

const inMode = (mode: Mode, rows: Row[]) => rows.map((row): [Mode, ...Row] => [mode, ...row])

export const expectFault = (
  fault: Failed | null,
  row: [AttemptFaultCode, Bought, (Partial<Failed> | undefined)?],
  stand: TextStand,
) => {
  const [code, bought] = row
  const more = row[2] ?? {}
  expect(fault).toMatchObject({ kind: 'fault', code, ...more })
  expect(FAULT_TABLE[code].bought).toBe(bought)
  if (!fault) return
  expect(fault.message.length).toBeLessThan(400)
  expect(fault.message).not.toMatch(/[?&]\w+=/)
  for (const secret of [PRIVATE, ...stand.secrets]) expect(JSON.stringify(fault)).not.toContain(secret)
  if (!('retryAfterMs' in more) && code === 'provider_rate_limited') expect(fault.retryAfterMs).toBeUndefined()
}

/** How many calls a piece of work bought. */
export const bought = async <T>(stand: TextStand, work: () => Promise<T>): Promise<[T, number]> => {
  const before = stand.stats().accepted
  return [await work(), stand.stats().accepted - before]
}

/** Nobody listens there any more. */
export const deadAddress = async (): Promise<string> => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`
}

export const tellsFaults = ({ subject, attempts, stand }: Bench): void => {
  const { prompts, wire } = subject
  /** Long enough for an answer that comes, short for one that does not. */
  const patience = (prompt: string) => (/^\[\[stall(?:_half)?\]\]$/.test(prompt) ? { timeoutMs: 200 } : {})

  describe('tells', () => {
    afterEach(() => void vi.useRealTimers())

    it.each<[Mode, ...Row]>(MODES.flatMap((mode) => inMode(mode, refusalsOf(prompts))))(
      '(%s) a refusal, of which nothing is bought: %s',
      async (mode, _what, prompt, code, told, more) => {
        const ask = () => attempts.ask(mode, inputOf(`${PRIVATE} ${prompt}`))
        const [{ fault, sent, begun }, accepted] = await bought(stand(), ask)
        expectFault(fault, [code, told, more], stand())
        expect([sent, begun, accepted]).toEqual([true, false, 0])
      },
    )

    const spoilt = [...inMode('whole', SPOILT_WHOLE), ...inMode('stream', spoiltStreams(prompts))]
    it.each<[Mode, ...Row]>(spoilt)(
      '(%s) an answer that was billed and is of no use, asked for once: %s',
      async (mode, _what, prompt, code, told, more) => {
        const ask = () => attempts.ask(mode, inputOf(`${PRIVATE} ${prompt}`), patience(prompt))
        const [{ fault, sent, begun, choices }, accepted] = await bought(stand(), ask)
        expectFault(fault, [code, told, more], stand())
        expect([sent, begun, choices, accepted]).toEqual([true, false, [], 1])
      },
    )

    it.each(brokenStreams(prompts))(
      'a stream that fails behind its first text: %s',
      async (_what, prompt, code, told) => {
        // What fails in the same bytes as the first text comes before it; so each event has its own.
        const ask = () => attempts.ask('stream', inputOf(`${PRIVATE} [[chunks:40]] [[slow:5]] ${prompt}`))
        const [{ fault, begun, choices }, accepted] = await bought(stand(), ask)
        expectFault(fault, [code, told], stand())
        expect([begun, accepted]).toEqual([true, 1])
        expect(choices[0]?.finish).toBeNull()
      },
    )

    it.each([
      ['before its first text', 'before', '[[stall_stream:0]]', false],
      ['behind its first text', 'behind', '[[stall_stream:6]]', true],
    ] as const)('a stream that falls silent %s', async (_what, hurry, prompt, begins) => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
      const ask = () => attempts.ask('stream', inputOf(`${PRIVATE} [[chunks:60]] ${prompt}`), { hurry })
      const [{ fault, begun }, accepted] = await bought(stand(), ask)
      expectFault(fault, ['provider_timeout', 'unknown'], stand())
      expect([begun, accepted]).toEqual([begins, 1])
    })

    it.each(MODES)('(%s) nothing on of the prompt or the key that an error repeats', async (mode) => {
      const { fault } = await attempts.ask(mode, inputOf(`${PRIVATE} [[echo]] ${prompts.badInput}`))
      expectFault(fault, ['provider_rejected', 'nothing'], stand())
    })

    if (!wire.overHttp) return
    it.each(MODES)('(%s) a secret that is wrong', async (mode) => {
      const ask = () => attempts.ask(mode, inputOf(PRIVATE), { secret: 'a-wrong-secret' })
      const [{ fault, sent }, accepted] = await bought(stand(), ask)
      expectFault(fault, ['provider_auth_failed', 'nothing'], stand())
      expect(JSON.stringify(fault)).not.toContain('a-wrong-secret')
      expect([sent, accepted]).toEqual([true, 0])
    })

    it.each(MODES)('(%s) that nothing was sent where nobody listens', async (mode) => {
      const { fault, sent } = await attempts.ask(mode, inputOf(PRIVATE), { baseUrl: await deadAddress() })
      expectFault(fault, ['provider_unavailable', 'nothing'], stand())
      expect(sent).toBe(false)
    })

    it.each(MODES)('(%s) an address that the guard refuses, and sends nothing', async (mode) => {
      const ask = () => attempts.ask(mode, inputOf(PRIVATE), { allowPrivate: false })
      const [{ fault, sent, requests }, accepted] = await bought(stand(), ask)
      expectFault(fault, ['provider_rejected', 'nothing'], stand())
      expect([sent, requests, accepted]).toEqual([false, [], 0])
    })

    it.each(MODES)('(%s) a secret that cannot be opened, and sends nothing', async (mode) => {
      const { fault, sent, requests } = await attempts.ask(mode, inputOf(PRIVATE), { secret: null })
      expectFault(fault, ['no_provider', 'nothing'], stand())
      expect([sent, requests]).toEqual([false, []])
    })
  })
}
