import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { Job } from '../../../src/contract/job.ts'
import { isStandIn, standInFor } from '../../../src/instance/stand-in.ts'
import { UPSTREAMS } from '../../../src/providers/upstreams.ts'
import { must, openSite, type Site } from '../support/client.ts'
import { eventually } from '../support/clock.ts'

/** Servers of one's own that let everybody in: called without a credential. */

const upstream = (id: string) => {
  const found = UPSTREAMS.find((one) => one.id === id)
  if (!found) throw new Error(`there is no ${id}`)
  return found
}
const LOCAL = ['ollama', 'vllm', 'llama-cpp']

describe('what stands for a credential', () => {
  test.each(LOCAL)('exists for %s where it may be called without', (id) => {
    const row = standInFor(upstream(id), { route: null, keyless: true })
    expect(row?.provider).toBe(id)
    expect(row && isStandIn(row)).toBe(true)
    expect(row?.ciphertext).toBe('')
    expect(standInFor(upstream(id), { route: null, keyless: false })).toBeNull()
  })

  test('exists for no provider whose keys are paid for, but by a binding', () => {
    const others = UPSTREAMS.filter(({ id }) => !LOCAL.includes(id))
    expect(others.map((one) => standInFor(one, { route: null, keyless: true }))).toEqual(others.map(() => null))
    expect(standInFor(upstream('workers-ai'), { route: { type: 'binding' }, keyless: false })).not.toBeNull()
  })
})

const COMPLETION = {
  id: 'c',
  model: 'any',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hi', refusal: null }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 10, completion_tokens: 10, total_tokens: 20 },
}

describe('a server of one’s own', () => {
  let site: Site
  let sent: (string | null)[]
  let status: number
  let held: Promise<void> | null
  beforeEach(async () => {
    site = await openSite('prod')
    sent = []
    status = 200
    held = null
    vi.spyOn(globalThis, 'fetch').mockImplementation(async (_url, init) => {
      sent.push(new Headers(init?.headers).get('authorization'))
      await held
      return Response.json(status === 200 ? COMPLETION : { error: { message: 'no', type: 'auth' } }, { status })
    })
  })

  const put = (json: object) => must(200, site.send('PUT', '/providers/vllm', { json }))
  const addressed = (more: object = {}) => put({ base_url: 'https://vllm.example/v1', ...more })
  const give = (secret = 'key-of-the-tests-0123456789') =>
    must(201, site.send('POST', '/providers/vllm/credentials', { json: { name: 'main', secret } }))
  const take = () => must(204, site.send('DELETE', '/providers/vllm/credentials/main'))
  const chat = (more: object = {}) => {
    const json = { model: 'vllm/any', messages: [{ role: 'user', content: 'Hello' }], ...more }
    return site.send('POST', '/chat/completions', { json })
  }
  const job = async () => {
    const input = { messages: [{ role: 'user', content: 'Hello' }] }
    const json = { type: 'text.generate', models: ['vllm/any'], input, max_attempts: 3 }
    return (await must(202, site.send<Job>('POST', '/jobs', { json }))).body.id
  }
  const read = async (id: string) => (await must(200, site.send<Job>('GET', `/jobs/${id}`))).body

  test('is called without a secret, by calls and by jobs', async () => {
    await addressed()
    await must(200, chat())
    expect((await site.ended(await job())).status).toBe('succeeded')
    expect(sent).toEqual([null, null])
  })

  test('costs nothing: it is neither refused by a budget nor the last that is asked where cost counts', async () => {
    await addressed()
    await must(200, site.send('PUT', '/budgets/instance', { json: { limit_usd: 0, window: 'day' } }))
    const { body } = await must(200, chat({ max_cost_usd: 0 }))
    expect(body).toMatchObject({ usage: { cost_usd: 0 } })
    expect(await site.ended(await job())).toMatchObject({ status: 'succeeded', cost_usd: 0 })
    await must(204, site.send('DELETE', '/budgets/instance'))
    const json = { name: 'main', secret: 'sk-key-of-the-tests-0123456789' }
    await must(201, site.send('POST', '/providers/openai/credentials', { json }))
    const { headers } = await must(200, chat({ model: 'openai/gpt-5-nano', models: ['vllm/any'], prefer: 'cost' }))
    expect(headers.get('x-switchyard-model')).toBe('vllm/any')
  })

  test('is not looked for at its usual address by an instance that never named it', async () => {
    expect((await chat()).body.error.code).toBe('no_provider')
    await addressed()
    await put({ base_url: null })
    expect((await chat()).body.error.code).toBe('no_provider')
    expect(sent).toEqual([])
  })

  test('that was given a key is not called without it in the moment between an old one and a new one', async () => {
    await addressed({ limits: { concurrency: 1 } })
    await give()
    let release = () => {}
    held = new Promise((resolve) => {
      release = resolve
    })
    const [first, second] = [await job(), await job()]
    await eventually('the first is under way', () => sent.length === 1)
    await take()
    release()
    expect((await site.ended(first)).status).toBe('succeeded')
    expect((await read(second)).status).toBe('queued')
    await give('another-key-of-the-tests-01234')
    expect((await site.ended(second)).status).toBe('succeeded')
    expect(sent).toEqual(['Bearer key-of-the-tests-0123456789', 'Bearer another-key-of-the-tests-01234'])
  })

  test('goes without one again when its address is set while it has none', async () => {
    await addressed()
    await give()
    await must(200, chat())
    await take()
    expect((await chat()).body.error.code).toBe('no_provider')
    await put({ limits: { concurrency: 2 } })
    expect((await chat()).body.error.code).toBe('no_provider')
    await addressed()
    await must(200, chat())
    expect(sent).toEqual(['Bearer key-of-the-tests-0123456789', null])
  })

  test('that wants a key after all is not asked again and again without one', async () => {
    await addressed()
    status = 401
    expect((await chat()).status).toBe(502)
    expect(sent).toEqual([null])
    const id = await job()
    const ended = await site.ended(id)
    expect([ended.status, ended.error?.code, ended.attempts.length]).toEqual(['failed', 'provider_auth_failed', 1])
  })
})
