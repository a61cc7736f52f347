import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AttemptFaultCode } from '../../../src/contract/fault.ts'
import {
  gatewayBaseUrl,
  gatewayFault,
  isFromGatewayCache,
  splitSecret,
  viaGateway,
} from '../../../src/providers/cloudflare-gateway.ts'
import type { TextProvider } from '../../../src/providers/dialect.ts'
import { imagesViaGateway } from '../../../src/providers/gateway-images.ts'
import type { HttpResult } from '../../../src/providers/http.ts'
import { ideogram } from '../../../src/providers/ideogram.ts'
import { openAiText } from '../../../src/providers/openai-text.ts'
import type { Call, Outcome, Provider } from '../../../src/providers/provider.ts'
import { refusesRoute, routedBaseUrl } from '../../../src/providers/routes.ts'
import { UPSTREAMS } from '../../../src/providers/upstreams.ts'
import { type OpenAiEmulator, startOpenAi } from '../../emulators/openai.ts'
import { chatCall, chatOf, complete, inputOf, NOW_MS, stream } from './text-call.ts'

/** Cloudflare AI Gateway in front of a provider: what is added on the way there, and what is its own on the way back. */

const ACCOUNT = '0123456789abcdef0123456789abcdef'
const ROUTE = { type: 'ai_gateway' as const, account: ACCOUNT, gateway: 'main' }
const envelope = (code: number) =>
  JSON.stringify({ success: false, result: [], messages: [], error: [{ code, message: 'x' }] })
const answered = (status: number, body: string, headers: Record<string, string> = {}) => ({
  kind: 'answered' as const,
  status,
  headers: new Headers(headers),
  body,
})

describe('a chat through the gateway', () => {
  let emulator: OpenAiEmulator
  const routed = (token: string | null = 'gw-token', cache = false): TextProvider => ({
    ...openAiText,
    chat: viaGateway(chatOf(openAiText), { provider: 'openai', token, cache }),
  })
  const at = () => ({
    baseUrl: gatewayBaseUrl({ ...ROUTE, origin: emulator.url }, 'openai') ?? '',
    secret: 'sk-openai',
    model: 'gpt-5-mini',
  })
  beforeAll(async () => {
    emulator = await startOpenAi({ apiKeys: ['sk-openai'] })
    emulator.control({ gatewayToken: 'gw-token' })
  })
  afterAll(() => emulator.close())

  it('bears both keys, is tried once and passes the cache by', async () => {
    const encoded = chatOf(routed()).encode(chatCall(routed(), at(), inputOf('hello')))
    expect(encoded.url).toBe(`${emulator.url}/v1/${ACCOUNT}/main/openai/chat/completions`)
    expect(encoded.headers).toEqual({
      authorization: 'Bearer sk-openai',
      'cf-aig-authorization': 'Bearer gw-token',
      'cf-aig-max-attempts': '1',
      'cf-aig-skip-cache': 'true',
    })
    expect((await complete(routed(), at(), inputOf('hello'))).outcome.kind).toBe('completed')
    expect((await stream(routed(), at(), inputOf('hello'))).end.fault).toBeNull()
  })

  it('leaves the cache to the gateway where that is wanted, and bears no token that there is not', () => {
    const { headers } = chatOf(routed(null, true)).encode(chatCall(routed(null, true), at(), inputOf('hello')))
    expect(headers).toEqual({ authorization: 'Bearer sk-openai', 'cf-aig-max-attempts': '1' })
  })

  it.each<[string, AttemptFaultCode]>([
    ['[[guardrail:2016]]', 'content_rejected'],
    ['[[guardrail:2017]]', 'content_rejected'],
    ['[[guardrail:2003]]', 'provider_rate_limited'],
    ['[[fail:429:insufficient_quota]]', 'provider_quota_exhausted'],
  ])('tells its own errors from the provider’s: %s is %s', async (directive, code) => {
    const { outcome } = await complete(routed(), at(), inputOf(`hello ${directive}`))
    expect(outcome).toMatchObject({ kind: 'fault', code })
  })

  it('without its token is shut', async () => {
    expect((await complete(routed(null), at(), inputOf('hello'))).outcome).toMatchObject({
      code: 'provider_auth_failed',
      message: expect.stringContaining('AI Gateway'),
    })
  })
})

describe('an answer', () => {
  it.each<[string, number, string, AttemptFaultCode | null]>([
    ['that there is no such gateway', 400, envelope(2001), 'provider_rejected'],
    ['that it is too much', 429, envelope(2003), 'provider_rate_limited'],
    ['that nothing came from the provider, whatever was bought', 400, envelope(2005), 'outcome_unknown'],
    ['that its token is wrong', 401, envelope(2009), 'provider_auth_failed'],
    ['that the prompt is blocked', 424, envelope(2016), 'content_rejected'],
    ['with a number that nobody knows', 400, envelope(2999), 'provider_rejected'],
    ['with such a number, while it fails', 502, envelope(2998), 'provider_unavailable'],
    ['of the provider', 429, '{"error":{"message":"slow down"}}', null],
    ['that is no JSON', 502, '<html>', null],
    ['that is good', 200, envelope(2003), null],
  ])('%s is told apart', (_what, status, body, code) => {
    const fault = gatewayFault(answered(status, body), 'openai', NOW_MS)
    expect(fault?.code ?? null).toBe(code)
    if (fault) expect(fault.message).toContain('AI Gateway')
  })

  it('that a prompt is blocked cost nothing, and one that an answer is blocked came too late for that', () => {
    expect(gatewayFault(answered(424, envelope(2016)), 'openai', NOW_MS)?.costMicros).toBe(0)
    expect(gatewayFault(answered(424, envelope(2017)), 'openai', NOW_MS)?.costMicros).toBeUndefined()
  })

  it('of Workers AI bears the same envelope, and stays its own', () => {
    expect(gatewayFault(answered(429, envelope(3036)), 'workers-ai', NOW_MS)).toBeNull()
    expect(gatewayFault(answered(429, envelope(2003)), 'workers-ai', NOW_MS)?.code).toBe('provider_rate_limited')
  })

  it('comes from the cache or not', () => {
    expect(isFromGatewayCache(new Headers({ 'cf-aig-cache-status': 'HIT' }))).toBe(true)
    expect(isFromGatewayCache(new Headers({ 'cf-aig-cache-status': 'MISS' }))).toBe(false)
    expect(isFromGatewayCache(new Headers())).toBe(false)
  })
})

describe('a secret', () => {
  it.each([
    ['sk-plain', null, 'sk-plain'],
    ['cf-aig=token;sk-plain', 'token', 'sk-plain'],
    ['cf-aig=token;sk;with;semicolons', 'token', 'sk;with;semicolons'],
    ['cf-aig=token;', 'token', ''],
    ['cf-aig=;sk-plain', null, 'cf-aig=;sk-plain'],
    ['', null, ''],
  ])('%s is taken apart', (sealed, token, secret) => {
    expect(splitSecret(sealed)).toEqual({ token, secret })
  })
})

describe('a route', () => {
  it('of the gateway leads to every provider that it knows', () => {
    const known = UPSTREAMS.filter(({ id }) => refusesRoute(ROUTE, id) === null).map(({ id }) => id)
    expect(known.sort()).toEqual(['anthropic', 'google', 'ideogram', 'openai', 'replicate', 'workers-ai'])
    expect(refusesRoute(ROUTE, 'constructor')).not.toBeNull()
  })

  it('of the binding leads to Workers AI alone', () => {
    const known = UPSTREAMS.filter(({ id }) => refusesRoute({ type: 'binding' }, id) === null).map(({ id }) => id)
    expect(known).toEqual(['workers-ai'])
  })

  it('has the address of its gateway, and without one the straight one holds', () => {
    const base = (route: Parameters<typeof routedBaseUrl>[0]) => routedBaseUrl(route, 'google', 'https://straight')
    expect(base(ROUTE)).toBe(`https://gateway.ai.cloudflare.com/v1/${ACCOUNT}/main/google-ai-studio`)
    expect(base({ ...ROUTE, origin: 'https://gateway.example' })).toContain('https://gateway.example/v1/')
    expect(base(null)).toBe('https://straight')
    expect(base({ type: 'binding' })).toBe('https://straight')
  })
})

describe('a picture through the gateway', () => {
  const call = (baseUrl: string): Call => ({
    job: 'job_1',
    attempt: 1,
    type: 'image.generate@1',
    model: 'ideogram-3',
    input: { prompt: 'a lighthouse', count: 1 },
    baseUrl,
    secret: 'ideogram-key',
    maxCostMicros: null,
    nowMs: NOW_MS,
  })
  const BASE = gatewayBaseUrl(ROUTE, 'ideogram') ?? ''

  /** An adapter that asks these addresses one after another, and ends with what is given. */
  const asking = (urls: string[], ...outcomes: Outcome[]): Provider => {
    const act = async (http: { send(request: { method: 'GET'; url: string }): Promise<HttpResult> }) => {
      for (const url of urls) await http.send({ method: 'GET', url })
      return outcomes.shift() as Outcome
    }
    return { ...ideogram, start: (_call, http) => act(http), poll: (_call, _at, http) => act(http) }
  }
  const DONE: Outcome = { kind: 'done', images: [], providerRequestId: null, costMicros: 60_000 }
  const network = (answer: HttpResult) => {
    const sent: { url: string; headers: Record<string, string> }[] = []
    const statuses: (number | null)[] = []
    const http = {
      send: async (request: { url: string; headers?: Record<string, string> }) => {
        sent.push({ url: request.url, headers: request.headers ?? {} })
        return answer
      },
    }
    return { http, sent, statuses }
  }

  it('has the headers where it goes to the gateway, and nowhere else', async () => {
    const { http, sent } = network(answered(200, '{}'))
    const elsewhere = 'https://files.example/picture.png'
    const lookalike = `${BASE}.evil.example/x`
    const provider = imagesViaGateway(asking([`${BASE}/v2/generate`, elsewhere, lookalike], DONE), 'gw-token')
    await provider.start(call(BASE), http)
    expect(sent.map(({ headers }) => headers['cf-aig-authorization'])).toEqual([
      'Bearer gw-token',
      undefined,
      undefined,
    ])
    expect(sent[0]?.headers).toMatchObject({ 'cf-aig-max-attempts': '1', 'cf-aig-skip-cache': 'true' })
  })

  it('that comes from the cache all the same cost nothing', async () => {
    const hit = network(answered(200, '{}', { 'cf-aig-cache-status': 'HIT' }))
    const outcome = await imagesViaGateway(asking([`${BASE}/x`], DONE), null).start(call(BASE), hit.http)
    expect(outcome).toMatchObject({ kind: 'done', costMicros: 0 })
  })

  it.each<[number, number, AttemptFaultCode]>([
    [424, 2016, 'content_rejected'],
    [401, 2009, 'provider_auth_failed'],
    [429, 2003, 'provider_rate_limited'],
    [400, 2005, 'outcome_unknown'],
    [400, 2001, 'provider_rejected'],
  ])('that the gateway refuses with %i and %i is %s', async (status, code, fault) => {
    const { http } = network(answered(status, envelope(code)))
    const outcome = await imagesViaGateway(ideogram, null).start(call(BASE), http)
    expect(outcome).toMatchObject({ kind: 'fault', code: fault, message: expect.stringContaining('AI Gateway') })
  })

  it('that is polled is not given up where the gateway has nothing to tell', async () => {
    const { http } = network(answered(400, envelope(2005)))
    const checkpoint = { generation_id: 'gen-1', quoted_micros: null, polls: 0, poll_errors: 0 }
    const outcome = await imagesViaGateway(ideogram, null).poll(call(BASE), checkpoint, http)
    expect(outcome).toMatchObject({ kind: 'wait', checkpoint: { generation_id: 'gen-1', poll_errors: 1 } })
  })

  it('that is polled keeps its checkpoint through a token that is refused', async () => {
    const { http } = network(answered(401, envelope(2009)))
    const checkpoint = { generation_id: 'gen-1', quoted_micros: null, polls: 0, poll_errors: 0 }
    const outcome = await imagesViaGateway(ideogram, null).poll(call(BASE), checkpoint, http)
    expect(outcome).toMatchObject({ code: 'provider_auth_failed', checkpoint: { generation_id: 'gen-1' } })
  })
})
