import * as v from 'valibot'
import { describe, expect, expectTypeOf, test } from 'vitest'
import {
  type ImageJobRequest,
  isFinal,
  JobRequest,
  type NodeType,
  STATUSES,
  type TextJobRequest,
} from '../../../src/contract/job.ts'
import { LIMITS } from '../../../src/limits.ts'
import { expectAccepted, expectRefused, firstIssue, type RefusedRow, type Row, text } from './issues.ts'

const least = { type: 'image.generate', input: { prompt: 'a lighthouse at dawn' } }
const job = (more: object): object => ({ ...least, ...more })
const chat = (input: object = {}, more: object = {}): object => ({
  type: 'text.generate',
  input: { messages: [{ role: 'user', content: 'Hello' }], ...input },
  ...more,
})
const embed = (input: object = {}): object => ({ type: 'text.embed', input: { input: 'Hello', ...input } })
const manyKeys = (count: number): object => Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, 'v']))
const models = (count: number): string[] => Array.from({ length: count }, (_, i) => `provider/model-${i}`)

const ACCEPTED: Row[] = [
  ['only type and input', least],
  ['a type with its version', job({ type: 'image.generate@1' })],
  ['a chat', chat()],
  [
    'a chat with its version, and what a job may say',
    chat({ temperature: 0 }, { type: 'text.generate@1', priority: 1 }),
  ],
  ['embeddings of several texts', embed({ input: ['a', 'b'], dimensions: 64 })],
  [
    'every field at once',
    job({
      project: 'content-forge',
      models: ['ideogram/ideogram-3'],
      prefer: 'cost',
      fallback: true,
      priority: 5,
      not_before: '2026-12-31T23:59:59Z',
      deadline_s: 600,
      max_attempts: 3,
      max_cost_usd: 0.5,
      on_content_rejected: 'fallback',
      on_outcome_unknown: 'retry',
      bucket: 'default',
      metadata: { any: 'string' },
    }),
  ],
  ['null where a field may be left open', job({ project: null, not_before: null, max_cost_usd: null })],
  ['a project of the longest name', job({ project: text(LIMITS.nameCharacters) })],
  ['the lowest priority', job({ priority: 0 })],
  ['the highest priority', job({ priority: LIMITS.priorityMax })],
  ['the shortest deadline', job({ deadline_s: 1 })],
  ['the longest deadline', job({ deadline_s: LIMITS.deadlineMaxSeconds })],
  ['one attempt', job({ max_attempts: 1 })],
  ['the most attempts', job({ max_attempts: LIMITS.attemptsMax })],
  ['a cost of nothing', job({ max_cost_usd: 0 })],
  ['the highest cost', job({ max_cost_usd: LIMITS.maxCostUsd })],
  ['the most models', job({ models: models(LIMITS.modelsPerJob) })],
  ['a model of the longest name', job({ models: [`a/${text(126)}`] })],
  ['a model with a path of its own', job({ models: ['replicate/owner/model:v1.2'] })],
  ['no metadata at all', job({ metadata: {} })],
  ['the most metadata', job({ metadata: manyKeys(LIMITS.metadataKeys) })],
  ['the longest metadata key', job({ metadata: { [text(LIMITS.metadataKeyCharacters)]: 'v' } })],
  ['the longest metadata value', job({ metadata: { k: text(LIMITS.metadataValueCharacters) } })],
  ['an empty metadata value', job({ metadata: { k: '' } })],
  ['a time with an offset', job({ not_before: '2026-06-01T12:00:00+02:00' })],
  ['a time with fractions of a second', job({ not_before: '2026-06-01T12:00:00.123456Z' })],
  ['a leap day of a leap year', job({ not_before: '2028-02-29T00:00:00Z' })],
]

const REFUSED: RefusedRow[] = [
  ['no object', 'job', 'body'],
  ['null', null, 'body'],
  ['no type', { input: least.input }, 'type'],
  ['a type that is unknown', job({ type: 'video.generate' }), 'type'],
  ['a version that is unknown', job({ type: 'image.generate@2' }), 'type'],
  ['a list', [least], 'body'],
  ['an input of another type', { ...least, type: 'text.generate' }, 'input.messages'],
  ['an empty message of a chat', chat({ messages: [{ role: 'user', content: [] }] }), 'input.messages.0.content'],
  ['a chat that is to be streamed', chat({ stream: true }), 'input.stream'],
  ['a chat with two limits', chat({ max_tokens: 1, max_completion_tokens: 2 }), 'input.max_tokens'],
  ['a model in the input of a chat', chat({ model: 'openai/gpt-5-mini' }), 'input.model'],
  ['an encoding of embeddings', embed({ encoding_format: 'float' }), 'input.encoding_format'],
  ['embeddings of nothing', embed({ input: [] }), 'input.input'],
  ['no input', { type: 'image.generate' }, 'input'],
  ['input that is text', job({ input: 'a lighthouse' }), 'input'],
  ['a fault deep in the input', job({ input: { prompt: '' } }), 'input.prompt'],
  ['a misspelt field', job({ prioritty: 5 }), 'prioritty'],
  ['a field named as a part of every object', job({ constructor: {} }), 'constructor'],
  ['an empty project', job({ project: '' }), 'project'],
  ['a project whose name is too long', job({ project: text(LIMITS.nameCharacters + 1) }), 'project'],
  ['a project that climbs', job({ project: '../other' }), 'project'],
  ['a project with a line break at its end', job({ project: 'a\n' }), 'project'],
  ['a project that begins with a dot', job({ project: '.hidden' }), 'project'],
  ['no model in a list of models', job({ models: [] }), 'models'],
  ['too many models', job({ models: models(LIMITS.modelsPerJob + 1) }), 'models'],
  ['a model without its provider', job({ models: ['openai/gpt-image-2', 'ideogram-3'] }), 'models.1'],
  ['a model whose name is too long', job({ models: [`a/${text(127)}`] }), 'models.0'],
  ['a model with a blank', job({ models: ['a/b c'] }), 'models.0'],
  ['a preference that is none', job({ prefer: 'luck' }), 'prefer'],
  ['a fallback that is text', job({ fallback: 'true' }), 'fallback'],
  ['a priority below 0', job({ priority: -1 }), 'priority'],
  ['a priority above the highest', job({ priority: LIMITS.priorityMax + 1 }), 'priority'],
  ['half a priority', job({ priority: 4.5 }), 'priority'],
  ['a priority that is text', job({ priority: '5' }), 'priority'],
  ['a deadline of no time', job({ deadline_s: 0 }), 'deadline_s'],
  ['a deadline too far away', job({ deadline_s: LIMITS.deadlineMaxSeconds + 1 }), 'deadline_s'],
  ['no attempts', job({ max_attempts: 0 }), 'max_attempts'],
  ['too many attempts', job({ max_attempts: LIMITS.attemptsMax + 1 }), 'max_attempts'],
  ['a negative cost', job({ max_cost_usd: -0.01 }), 'max_cost_usd'],
  ['a cost too high', job({ max_cost_usd: LIMITS.maxCostUsd + 0.01 }), 'max_cost_usd'],
  ['a cost that is not a number', job({ max_cost_usd: Number.NaN }), 'max_cost_usd'],
  ['a cost without end', job({ max_cost_usd: Number.POSITIVE_INFINITY }), 'max_cost_usd'],
  ['a time without a zone', job({ not_before: '2026-06-01T12:00:00' }), 'not_before'],
  ['a time in words', job({ not_before: 'tomorrow' }), 'not_before'],
  ['a time that only looks like one to the platform', job({ not_before: 'Tue Mar 01 2022' }), 'not_before'],
  ['the 30th of February', job({ not_before: '2026-02-30T12:00:00Z' }), 'not_before'],
  ['the 31st of April', job({ not_before: '2026-04-31T12:00:00+02:00' }), 'not_before'],
  ['the leap day of a common year', job({ not_before: '2026-02-29T12:00:00Z' }), 'not_before'],
  ['a thirteenth month', job({ not_before: '2026-13-01T12:00:00Z' }), 'not_before'],
  ['a time as a number', job({ not_before: 1_790_000_000 }), 'not_before'],
  ['what to do on refused content, unknown', job({ on_content_rejected: 'retry' }), 'on_content_rejected'],
  ['what to do on an unknown outcome, unknown', job({ on_outcome_unknown: 'fallback' }), 'on_outcome_unknown'],
  ['a bucket that is not configured', job({ bucket: 'mine' }), 'bucket'],
  ['too much metadata', job({ metadata: manyKeys(LIMITS.metadataKeys + 1) }), 'metadata'],
  [
    'a metadata value that is too long',
    job({ metadata: { k: text(LIMITS.metadataValueCharacters + 1) } }),
    'metadata.k',
  ],
  ['a metadata value that is no text', job({ metadata: { k: 1 } }), 'metadata.k'],
  ['an empty metadata key', job({ metadata: { '': 'v' } }), 'metadata.'],
  [
    'a metadata key that is too long',
    job({ metadata: { [text(LIMITS.metadataKeyCharacters + 1)]: 'v' } }),
    `metadata.${text(LIMITS.metadataKeyCharacters + 1)}`,
  ],
  ['a metadata key with a control character', job({ metadata: { 'a\u0007': 'v' } }), 'metadata.a\u0007'],
]

describe('a job request', () => {
  test.each(ACCEPTED)('is accepted: %s', (_name, value) => expectAccepted(JobRequest, value))
  test.each(REFUSED)('is refused at the field at fault: %s', (_name, value, path) =>
    expectRefused(JobRequest, value, path),
  )

  test('always comes out with the version of its type', () => {
    expect(v.parse(JobRequest, least).type).toBe('image.generate@1')
    expect(v.parse(JobRequest, job({ type: 'image.generate@1' }))).toEqual(v.parse(JobRequest, least))
    expect(v.parse(JobRequest, chat()).type).toBe('text.generate@1')
    expect(v.parse(JobRequest, embed()).type).toBe('text.embed@1')
  })

  test('says what is asked for in our words, with the bound', () => {
    expect(firstIssue(JobRequest, job({ priority: 10 }))?.message).toBe('must be at most 9')
    expect(firstIssue(JobRequest, job({ models: ['x'] }))?.message).toBe('must be written provider/model')
  })

  test('is typed as its schema says', () => {
    expectTypeOf<JobRequest['type']>().toEqualTypeOf<NodeType>()
    expectTypeOf<JobRequest['priority']>().toEqualTypeOf<number | undefined>()
    expectTypeOf<ImageJobRequest['input']['prompt']>().toEqualTypeOf<string>()
    expectTypeOf<TextJobRequest['type']>().toEqualTypeOf<'text.generate@1' | 'text.embed@1'>()
  })
})

test('a status is final exactly where a job has ended', () => {
  expect(STATUSES.filter(isFinal)).toEqual(['succeeded', 'failed', 'canceled'])
})
