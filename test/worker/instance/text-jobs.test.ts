import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Batch } from '../../../src/contract/batch.ts'
import type { ChatInput } from '../../../src/contract/chat.ts'
import type { EmbedInput } from '../../../src/contract/embedding.ts'
import type { Job } from '../../../src/contract/job.ts'
import type { ChatOutput, EmbedOutput } from '../../../src/contract/text-output.ts'
import { LIMITS } from '../../../src/limits.ts'
import { instanceStub, jobRequest, must, rowsOf, type Site } from '../support/client.ts'
import { eventually, movableClock } from '../support/clock.ts'
import {
  answering,
  CLAUDE,
  chatJob,
  completion,
  EMBED,
  embedJob,
  type FakeTexts,
  failing,
  GPT,
  openTexts,
} from '../support/fake-texts.ts'
import { expectRest, ledgerOf, setBudget } from '../support/money.ts'
import { expectProblem } from '../support/problem.ts'

/** Texts as jobs in the background: taken in, run by real lanes, answered, settled. */

type TextJob = Job<ChatOutput, ChatInput>
type EmbedJob = Job<EmbedOutput, EmbedInput>

let site: Site
let provider: FakeTexts
beforeEach(async () => {
  ;({ site, provider } = await openTexts())
})

const post = (json: unknown) => site.send<TextJob>('POST', '/jobs', { json })
const begin = async (json: unknown): Promise<TextJob> => (await must(202, post(json))).body
const read = async (id: string): Promise<TextJob> => (await must(200, site.send<TextJob>('GET', `/jobs/${id}`))).body
const ended = async <J = TextJob>(id: string): Promise<J> => (await site.ended(id)) as unknown as J
const run = async <J = TextJob>(json: unknown): Promise<J> => ended<J>((await begin(json)).id)
const textOf = (job: TextJob) => job.output?.choices[0]?.message.content

/** 8 tokens of prompt and 100 of answer are expected, at 3 and 5 micros each; 11 and 7 are used. */
const EXPECTED_USD = 0.000_524
/** Held are 13 tokens of prompt: half more for the text, and more around it. */
const HELD_USD = 0.000_539
const COST_USD = 0.000_068

describe('a chat as a job', () => {
  test('is answered with a completion, its use and its cost to the micro', async () => {
    const job = await run(chatJob())
    expect(job).toMatchObject({
      type: 'text.generate@1',
      status: 'succeeded',
      model: GPT,
      progress: 1,
      input: { messages: [{ role: 'user', content: 'Hello' }], max_completion_tokens: 100 },
      usage: { input_tokens: 11, output_tokens: 7 },
      usage_estimated: false,
      estimate_usd: HELD_USD,
      cost_usd: COST_USD,
      price: { model: 'gpt-5-mini', rates: { input_per_mtok: 3, output_per_mtok: 5 }, estimated_usd: EXPECTED_USD },
      attempts: [{ number: 1, model: GPT, outcome: 'done' }],
      skipped: [],
      error: null,
    })
    expect(job.output).toEqual({
      id: 'chatcmpl-of-the-provider',
      object: 'chat.completion',
      created: 1_790_000_000,
      model: 'gpt-5-mini-2025-08-07',
      choices: [
        expect.objectContaining({
          finish_reason: 'stop',
          message: expect.objectContaining({ content: 'Hello from OpenAI' }),
        }),
      ],
    })
    const [asked] = provider.asked
    expect(asked?.headers.get('authorization')).toBe('Bearer openai-secret-of-the-tests-0123456789')
    expect(asked?.body).toMatchObject({ model: 'gpt-5-mini', messages: [{ role: 'user', content: 'Hello' }] })
    expect(asked?.body['stream']).not.toBe(true)
  })

  test('is read, listed and filtered like every job', async () => {
    const { id } = await run(chatJob({ metadata: { a: 'b' } }))
    const list = async (query: string) =>
      (await must(200, site.send<{ data: TextJob[] }>('GET', `/jobs?${query}`))).body.data.map((job) => job.id)
    expect(await list('type=text.generate')).toEqual([id])
    expect(await list('type=text.embed@1')).toEqual([])
    expect(await read(id)).toMatchObject({ metadata: { a: 'b' }, status: 'succeeded' })
  })

  test('tells events how much was written, and neither question nor answer', async () => {
    const { id } = await run(chatJob({}, { messages: [{ role: 'user', content: 'a secret question' }] }))
    const rows = await rowsOf('prod', `SELECT type, data FROM events WHERE job = '${id}' ORDER BY seq`)
    expect(rows.map(({ type }) => type)).toEqual(['job.queued', 'job.started', 'job.succeeded'])
    expect(JSON.parse(String(rows.at(-1)?.['data']))).toEqual({
      cost_usd: COST_USD,
      tokens: { input: 11, output: 7 },
      finish_reasons: ['stop'],
    })
    const said = JSON.stringify(rows)
    expect([said.includes('secret question'), said.includes('Hello from')]).toEqual([false, false])
  })

  test('runs on the default models of the instance where it names none', async () => {
    const { models: _, ...bare } = chatJob() as { models: unknown }
    const refused = await post(bare)
    expectProblem(refused as never, 400, 'invalid_request')
    expect(refused.body as never).toMatchObject({ error: { param: 'models' } })
    const config = { default_models: { 'text.generate': [CLAUDE], 'text.embed': [EMBED] } }
    await must(200, site.send('PATCH', '', { json: { config } }))
    expect((await run(bare)).model).toBe(CLAUDE)
    const { models: __, ...embed } = embedJob() as { models: unknown }
    expect((await run<EmbedJob>(embed)).model).toBe(EMBED)
  })

  test('whose provider tells no usage is counted here, and marked', async () => {
    provider.next.openai.push(answering(completion('one two three', { usage: undefined })))
    const job = await run(chatJob())
    expect(job).toMatchObject({
      status: 'succeeded',
      usage: { input_tokens: 8, output_tokens: 3 },
      usage_estimated: true,
    })
    expect(job.cost_usd).toBe(0.000_039)
  })

  test('served by a tier that is billed otherwise has an unknown cost', async () => {
    provider.next.openai.push(answering(completion('quick', { service_tier: 'priority' })))
    expect(await run(chatJob())).toMatchObject({ status: 'succeeded', cost_usd: null, usage: { output_tokens: 7 } })
  })

  test('whose answer a row does not hold fails, and stays paid', async () => {
    provider.next.openai.push(answering(completion('x'.repeat(LIMITS.jobOutputBytes))))
    const job = await run(chatJob())
    expect(job).toMatchObject({
      status: 'failed',
      error: { code: 'artifact_failed', source: 'switchyard' },
      output: null,
    })
    expect([job.cost_usd, job.attempts.length]).toEqual([COST_USD, 1])
  })
})

describe('embeddings as a job', () => {
  test('come in order as float32 in base64', async () => {
    const job = await run<EmbedJob>(embedJob(['a', 'b']))
    expect(job).toMatchObject({
      type: 'text.embed@1',
      status: 'succeeded',
      usage: { input_tokens: 5 },
      cost_usd: 0.000_065,
    })
    expect(job.output).toMatchObject({ object: 'list', encoding_format: 'base64', model: 'text-embedding-3-small' })
    const vectors = job.output?.data.map(({ embedding }) => {
      const bytes = Uint8Array.from(atob(embedding), (character) => character.charCodeAt(0))
      return Array.from(new Float32Array(bytes.buffer))
    })
    expect(vectors).toEqual([
      [0.5, -1, 0],
      [0.5, -1, 1],
    ])
    const [row] = await rowsOf('prod', `SELECT data FROM events WHERE type = 'job.succeeded'`)
    expect(JSON.parse(String(row?.['data']))).toMatchObject({ embeddings: 2, tokens: { input: 5 } })
  })

  test('that a job cannot keep are refused before they are bought', async () => {
    const answer = await post(embedJob(Array.from({ length: 200 }, () => 'a')))
    expectProblem(answer as never, 400, 'invalid_request')
    expect(answer.body as never).toMatchObject({ error: { param: 'input.input' } })
    expect((await post({ ...embedJob(), input: { input: Array(200).fill('a'), dimensions: 64 } })).status).toBe(202)
  })
})

describe('a text job that is refused', () => {
  test.each<[string, unknown, string]>([
    [
      'a part of no kind',
      chatJob({}, { messages: [{ role: 'user', content: [{ type: 'file' }] }] }),
      'input.messages.0.content.0.type',
    ],
    ['a message of nobody', chatJob({}, { messages: [{ role: 'nobody', content: 'x' }] }), 'input.messages.0.role'],
    ['a field of the line', chatJob({}, { stream: true }), 'input.stream'],
    ['pictures for a text', { ...chatJob(), input: { prompt: 'x' } }, 'input.messages'],
    ['a model of pictures', chatJob({ models: ['ideogram/ideogram-3'] }), 'models.0'],
    ['a model of embeddings', chatJob({ models: [GPT, EMBED] }), 'models.1'],
    ['a model of texts for embeddings', embedJob('a', { models: [GPT] }), 'models.0'],
    ['a model of texts for a picture', jobRequest({ models: [GPT] }), 'models.0'],
    ['a stranger among the options', chatJob({}, { provider_options: { nobody: {} } }), 'input.provider_options'],
    ['what no model of its list can', chatJob({ models: [CLAUDE] }, { n: 2 }), 'input.n'],
    ['dimensions beyond the model', { ...embedJob(), input: { input: 'a', dimensions: 16_000 } }, 'input.dimensions'],
  ])('names its field, and nothing is called: %s', async (_name, json, param) => {
    const answer = await post(json)
    expectProblem(answer as never, 400, 'invalid_request')
    expect(answer.body as never).toMatchObject({ error: { param } })
    expect(provider.asked).toEqual([])
  })

  test('is bounded, in a batch too', async () => {
    const long = chatJob({}, { messages: [{ role: 'user', content: 'x'.repeat(LIMITS.jobInputBytes) }] })
    expectProblem((await post(long)) as never, 413, 'payload_too_large')
    const batch = await site.send('POST', '/batches', { json: { jobs: [chatJob(), long] } })
    expectProblem(batch, 413, 'payload_too_large')
    expect(batch.body.error.param).toBe('jobs.1.input')
    expect(await rowsOf('prod', 'SELECT id FROM jobs')).toEqual([])
  })
})

describe('a text job whose model fails', () => {
  test('is answered by another provider in its own dialect', async () => {
    provider.next.openai.push(failing(400))
    const job = await run(chatJob({ models: [GPT, CLAUDE] }))
    expect(job).toMatchObject({ status: 'succeeded', model: CLAUDE, usage: { input_tokens: 11, output_tokens: 7 } })
    expect(textOf(job)).toBe('Hello from Anthropic')
    expect(job.attempts.map(({ model, outcome }) => [model, outcome])).toEqual([
      [GPT, 'provider_rejected'],
      [CLAUDE, 'done'],
    ])
    // 11 × 7 + 7 × 11 micros, by the second model's price; the refused call cost nothing.
    expect(job.cost_usd).toBe(0.000_154)
    await expectRest(site, { settled_usd: 0.000_154 })
  })

  test('passes over a model that refuses the input, and says why', async () => {
    provider.next.openai.push(failing(400))
    const job = await run(chatJob({ models: [CLAUDE, GPT] }, { n: 2 }))
    expect(job).toMatchObject({
      status: 'failed',
      error: { code: 'provider_rejected' },
      skipped: [{ model: CLAUDE, reason: expect.stringContaining('one choice') }],
    })
    expect(provider.count('anthropic')).toBe(0)
  })

  test('is tried again after a 429, which costs no attempt', async () => {
    const limited = { error: { message: 'slow down', type: 'requests', code: 'rate_limit_exceeded' } }
    provider.next.openai.push(failing(429, limited, { 'retry-after-ms': '5' }))
    const job = await run(chatJob({ max_attempts: 1 }))
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['provider_rate_limited', 'done'])
    expect(job).toMatchObject({ status: 'succeeded', cost_usd: COST_USD })
  })

  test('becomes a dead letter, and runs again when it is replayed', async () => {
    provider.next.openai.push(failing(400))
    const failed = await run(chatJob())
    expect(failed).toMatchObject({ status: 'failed', cost_usd: 0, held_usd: null })
    const letters = await must(200, site.send<{ data: TextJob[] }>('GET', '/dead-letters?type=text.generate'))
    expect(letters.body.data.map(({ id }) => id)).toEqual([failed.id])
    await must(202, site.send('POST', `/jobs/${failed.id}/replay`))
    const job = await ended(failed.id)
    expect(job).toMatchObject({ status: 'succeeded', replays: 1, cost_usd: COST_USD })
    expect(job.attempts).toHaveLength(2)
  })
})

describe('money', () => {
  test('is held for what a text may use, and settled by what it used', async () => {
    await setBudget(site, 'instance', 0.001)
    provider.hold()
    const job = await begin(chatJob())
    await eventually('the call is out', () => provider.open === 1)
    expect(await read(job.id)).toMatchObject({ status: 'running', held_usd: HELD_USD })
    expect(await ledgerOf(site)).toMatchObject({ held_usd: HELD_USD })
    const short = await post(chatJob())
    expect(short).toMatchObject({
      status: 402,
      body: { error: { code: 'budget_exceeded', details: { estimate_usd: HELD_USD } } },
    })
    provider.release()
    expect(await ended(job.id)).toMatchObject({ cost_usd: COST_USD, held_usd: null })
    await expectRest(site, { settled_usd: COST_USD })
    expect((await run(chatJob())).status).toBe('succeeded')
  })

  test('is refused to one that is dearer than its own bound', async () => {
    expect(await post(chatJob({ max_cost_usd: 0.000_538 }))).toMatchObject({
      status: 402,
      body: { error: { param: 'max_cost_usd' } },
    })
    expect((await run(chatJob({ max_cost_usd: HELD_USD }))).status).toBe('succeeded')
  })
})

describe('a limit in tokens', () => {
  test('lets out what is expected to fit, and what was not used comes back', async () => {
    movableClock().freeze()
    // 120 tokens at once: two calls of 58 each, and no third, unless the first two use less.
    await must(200, site.send('PUT', '/providers/openai', { json: { limits: { tokens_per_minute: 1_200 } } }))
    provider.hold()
    const jobs = [
      await begin(chatJob({}, { max_completion_tokens: 50 })),
      await begin(chatJob({}, { max_completion_tokens: 50 })),
    ]
    const third = await begin(chatJob({}, { max_completion_tokens: 50 }))
    await eventually('two calls are out', () => provider.open === 2)
    expect(await read(third.id)).toMatchObject({
      status: 'queued',
      queue: { waiting_for: 'provider_rate', limit: 'instance:prod:provider:openai' },
    })
    provider.release()
    for (const { id } of [...jobs, third]) expect((await ended(id)).status).toBe('succeeded')
  })
})

describe('a text job that is cut off', () => {
  const underWay = async (json: unknown): Promise<TextJob> => {
    provider.hold()
    const job = await begin(json)
    await eventually('the call is out', () => provider.open === 1)
    return job
  }

  test('by its client ends at once, and the call is given up', async () => {
    const job = await underWay(chatJob())
    const canceled = await must(200, site.send<TextJob>('POST', `/jobs/${job.id}/cancel`))
    expect(canceled.body).toMatchObject({ status: 'canceled', output: null, cost_usd: null })
    await eventually('the provider is left', () => provider.aborted === 1)
    // Nobody knows what it would have cost: what was held is booked.
    await expectRest(site, { settled_usd: 0, presumed_usd: HELD_USD })
  })

  test('by a crash has an unknown outcome, and is not bought again', async () => {
    const job = await underWay(chatJob())
    await abortAllDurableObjects()
    provider.release()
    await runDurableObjectAlarm(instanceStub('prod'))
    expect(await ended(job.id)).toMatchObject({ status: 'failed', error: { code: 'outcome_unknown' }, cost_usd: null })
    expect(provider.count('openai')).toBe(1)
  })

  test('by a crash is asked again where it says so', async () => {
    const job = await underWay(chatJob({ on_outcome_unknown: 'retry' }))
    await abortAllDurableObjects()
    provider.release()
    await runDurableObjectAlarm(instanceStub('prod'))
    expect(await ended(job.id)).toMatchObject({
      status: 'succeeded',
      attempts: [{ outcome: 'outcome_unknown' }, { outcome: 'done' }],
    })
  })
})

test('a batch holds jobs of every type', async () => {
  const jobs = [jobRequest(), chatJob(), embedJob()]
  const { body } = await must(202, site.send<Batch>('POST', '/batches', { json: { jobs } }))
  const types: string[] = []
  for (const id of body.jobs) types.push((await ended(id)).type)
  expect(types).toEqual(['image.generate@1', 'text.generate@1', 'text.embed@1'])
  const batch = (await must(200, site.send<Batch>('GET', `/batches/${body.id}`))).body
  expect(batch).toMatchObject({ status: 'succeeded', counts: { succeeded: 3 }, cost_usd: 0.060_133 })
})

test('a page of long texts is short, and its pages join', async () => {
  const content = 'x'.repeat(200_000)
  const jobs = Array.from({ length: 18 }, () => chatJob({}, { messages: [{ role: 'user', content }] }))
  for (let i = 0; i < jobs.length; i += 1)
    provider.next.openai.push(i % 2 === 0 ? answering(completion('y'.repeat(400_000))) : failing(400))
  const ids: string[] = []
  for (const job of jobs) ids.push((await run(job)).id)
  type Page = { data: TextJob[]; next: string | null }
  const pagesOf = async (path: string): Promise<string[][]> => {
    const pages: string[][] = []
    for (let after = ''; ; ) {
      const { body } = await must(200, site.send<Page>('GET', `${path}?limit=100${after}`))
      pages.push(body.data.map(({ id }) => id))
      if (body.next === null) return pages
      after = `&after=${body.next}`
    }
  }
  const pages = await pagesOf('/jobs')
  expect(pages.flat()).toEqual([...ids].reverse())
  expect(pages.filter((page) => page.length > 0).length).toBeGreaterThan(1)
  const failed = ids.filter((_, i) => i % 2 === 1)
  expect((await pagesOf('/dead-letters')).flat()).toEqual(failed.reverse())
})

test('the registry shows every type with its own schemas, and models of text with their prices', async () => {
  type Schema = { properties: object }
  type Listed<T> = { data: ({ id: string } & T)[] }
  const nodes = (await must(200, site.send<Listed<{ input: unknown; output: unknown }>>('GET', '/node-types'))).body
    .data
  const fieldsOf = (id: string, side: 'input' | 'output') =>
    Object.keys((nodes.find((node) => node.id === id)?.[side] as Schema | undefined)?.properties ?? {})
  expect(fieldsOf('image.generate@1', 'input')).toContain('prompt')
  expect(fieldsOf('text.generate@1', 'input')).toContain('messages')
  expect(fieldsOf('text.embed@1', 'output')).toContain('encoding_format')
  const models = (await must(200, site.send<Listed<{ types: string[]; price: unknown }>>('GET', '/models'))).body.data
  expect(models.find(({ id }) => id === GPT)).toMatchObject({
    types: ['text.generate@1'],
    price: { rates: { input_per_mtok: 3, output_per_mtok: 5 }, overridden: true, billed: true },
  })
  expect(models.find(({ id }) => id === EMBED)).toMatchObject({
    types: ['text.embed@1'],
    price: { rates: { input_per_mtok: 13 } },
  })
})
