import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { AttemptFaultCode } from '../../../src/contract/fault.ts'
import { geminiText } from '../../../src/providers/gemini-text.ts'
import { type GeminiEmulator, startGemini } from '../../emulators/gemini.ts'
import { chatOf, complete, inputOf } from './text-call.ts'

let gemini: GeminiEmulator
const SECRET = 'AIza-good-secret'
const at = (model = 'gemini-3.8-flash') => ({ baseUrl: gemini.url, secret: SECRET, model })

beforeAll(async () => {
  gemini = await startGemini({ apiKeys: [SECRET], draw: false })
})
afterEach(() => gemini.reset())
afterAll(() => gemini.close())

describe('an error', () => {
  it.each<[string, AttemptFaultCode, object?]>([
    ['[[fail:400]]', 'provider_rejected'],
    ['[[context]]', 'provider_rejected', { param: 'messages' }],
    ['[[fail:400]] [[reason:API_KEY_INVALID]]', 'provider_auth_failed'],
    ['[[fail:403]] [[reason:API_KEY_SERVICE_BLOCKED]]', 'provider_auth_failed'],
    ['[[fail:403]] [[reason:SERVICE_DISABLED]]', 'provider_auth_failed'],
    ['[[fail:403]] [[reason:BILLING_DISABLED]]', 'provider_quota_exhausted'],
    ['[[fail:400:FAILED_PRECONDITION]] [[words:Please enable billing on this project.]]', 'provider_quota_exhausted'],
    ['[[fail:400:FAILED_PRECONDITION]] [[words:User location is not supported.]]', 'provider_rejected'],
    ['[[fail:401]]', 'provider_auth_failed'],
    ['[[fail:403]]', 'provider_auth_failed'],
    ['[[fail:403]] [[words:CachedContent not found (or permission denied)]]', 'provider_rejected'],
    ['[[fail:404]]', 'provider_rejected'],
    ['[[fail:404]] [[words:models/gone is not found for API version v1]]', 'provider_rejected', { param: 'model' }],
    ['[[fail:408]]', 'provider_timeout'],
    ['[[fail:409]]', 'provider_unavailable'],
    ['[[fail:413]]', 'provider_rejected'],
    ['[[fail:429]]', 'provider_rate_limited'],
    ['[[fail:429]] [[retry:59s]]', 'provider_rate_limited', { retryAfterMs: 59_000 }],
    ['[[fail:429]] [[retry:1.250s]]', 'provider_rate_limited', { retryAfterMs: 1_250 }],
    [
      '[[fail:429]] [[quota:GenerateContentInputTokensPerModelPerMinute-FreeTier]] [[retry:7s]]',
      'provider_rate_limited',
      { retryAfterMs: 7_000 },
    ],
    [
      '[[fail:429]] [[quota:GenerateRequestsPerDayPerProjectPerModel-FreeTier]] [[retry:7s]]',
      'provider_quota_exhausted',
    ],
    ['[[fail:429]] [[words:Your prepayment credits are depleted.]]', 'provider_quota_exhausted'],
    ['[[fail:429]] [[words:The project has exceeded its monthly spending cap.]]', 'provider_quota_exhausted'],
    ['[[fail:499]]', 'provider_unavailable'],
    ['[[fail:500]]', 'provider_unavailable'],
    ['[[fail:502]]', 'provider_unavailable'],
    ['[[fail:503]] [[retry:3s]]', 'provider_unavailable', { retryAfterMs: 3_000 }],
    ['[[fail:504]]', 'provider_timeout'],
    ['[[fail:520]]', 'outcome_unknown'],
    ['[[fail:524]]', 'outcome_unknown'],
    ['[[garbage]]', 'provider_protocol_error'],
    ['[[malformed]]', 'provider_protocol_error'],
    ['[[no_candidates]]', 'provider_protocol_error'],
    ['[[error_200]]', 'provider_unavailable'],
  ])('%s is %s', async (directive, code, more = {}) => {
    const { outcome } = await complete(geminiText, at(), inputOf(`a private prompt of mine ${directive}`))
    expect(outcome).toMatchObject({ kind: 'fault', code, ...more })
    expect(JSON.stringify(outcome)).not.toMatch(/private prompt|AIza-good/)
    if (code === 'provider_quota_exhausted') expect(outcome).not.toHaveProperty('retryAfterMs')
  })

  it('of a bad key is the key’s, though it is a 400', async () => {
    const { outcome } = await complete(geminiText, { ...at(), secret: 'AIza-bad' }, inputOf('hello'))
    expect(outcome).toMatchObject({ kind: 'fault', code: 'provider_auth_failed' })
  })

  it('of a minute that is full says when to come back', async () => {
    gemini.control({ requestsPerMinute: 1 })
    await complete(geminiText, at(), inputOf('hello'))
    const { outcome } = await complete(geminiText, at(), inputOf('hello'))
    expect(outcome).toMatchObject({ code: 'provider_rate_limited', retryAfterMs: expect.any(Number) })
    if (outcome.kind === 'fault') expect(outcome.retryAfterMs).toBeGreaterThan(50_000)
  })

  it('is read from a list too, and never repeats the prompt or the secret', () => {
    const call = {
      card: geminiText.chatModels[0] as never,
      input: inputOf('the secret plan of the north'),
      stream: true,
      baseUrl: '',
      secret: SECRET,
      id: '',
      nowMs: 0,
    }
    const decode = (message: string) =>
      chatOf(geminiText).decode(call, {
        kind: 'answered',
        status: 400,
        headers: new Headers(),
        body: JSON.stringify([{ error: { code: 400, message, status: 'INVALID_ARGUMENT' } }]),
      })
    expect(decode('Invalid value: temperature is too high')).toMatchObject({
      code: 'provider_rejected',
      message: expect.stringContaining('temperature is too high'),
    })
    expect(JSON.stringify(decode('Bad: the secret plan of the north'))).not.toContain('plan')
    expect(JSON.stringify(decode(`Key ${SECRET} is bad`))).not.toContain('AIza-good')
  })

  it('before an answer was made bought nothing', async () => {
    for (const directive of ['[[fail:429]]', '[[fail:500]]', '[[context]]'])
      await complete(geminiText, at(), inputOf(`hello ${directive}`))
    expect(gemini.stats()).toMatchObject({ accepted: 0, tokens: { prompt: 0, candidates: 0 } })
  })

  it('that cuts a whole answer leaves its outcome unknown', () => {
    const call = {
      card: geminiText.chatModels[0] as never,
      input: inputOf('hello'),
      stream: false,
      baseUrl: '',
      secret: '',
      id: '',
      nowMs: 0,
    }
    const answer = {
      kind: 'answered' as const,
      status: 200,
      headers: new Headers(),
      body: '{"candi',
      cut: 'lost' as const,
    }
    expect(chatOf(geminiText).decode(call, answer)).toMatchObject({ kind: 'fault', code: 'outcome_unknown' })
  })
})
