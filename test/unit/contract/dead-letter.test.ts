import type * as v from 'valibot'
import { describe, test } from 'vitest'
import { BatchRequest } from '../../../src/contract/batch.ts'
import { DiscardRequest, ReplayRequest } from '../../../src/contract/dead-letter.ts'
import { LIMITS } from '../../../src/limits.ts'
import { expectAccepted, expectRefused, type RefusedRow, type Row, text } from './issues.ts'

const job = (more: object = {}): object => ({ type: 'image.generate', input: { prompt: 'a lighthouse' }, ...more })
const jobs = (count: number): object[] => Array.from({ length: count }, () => job())
const whole = {
  code: 'outcome_unknown',
  type: 'image.generate@1',
  model: 'ideogram/ideogram-3',
  provider: 'ideogram',
  project: 'forge',
  from: '2026-01-01T00:00:00Z',
  to: '2026-02-01T00:00:00Z',
}

const REQUESTS: Record<string, { schema: v.GenericSchema; accepted: Row[]; refused: RefusedRow[] }> = {
  'a batch': {
    schema: BatchRequest,
    accepted: [
      ['one job', { jobs: jobs(1) }],
      ['the most jobs', { jobs: jobs(LIMITS.jobsPerBatch) }],
      ['a project and metadata', { jobs: jobs(1), project: 'forge', metadata: { run: 'a' } }],
      ['no project', { jobs: jobs(1), project: null }],
    ],
    refused: [
      ['nothing', {}, 'jobs'],
      ['no job', { jobs: [] }, 'jobs'],
      ['one job too many', { jobs: jobs(LIMITS.jobsPerBatch + 1) }, 'jobs'],
      ['a job that is wrong', { jobs: [...jobs(37), job({ input: { prompt: '' } })] }, 'jobs.37.input.prompt'],
      ['a job with a field that is none', { jobs: [job(), job({ prioritty: 1 })] }, 'jobs.1.prioritty'],
      ['an object of jobs', { jobs: { 0: job() } }, 'jobs'],
      ['a project that is no name', { jobs: jobs(1), project: text(LIMITS.nameCharacters + 1) }, 'project'],
      ['a webhook', { jobs: jobs(1), webhook: {} }, 'webhook'],
    ],
  },
  'a replay by filter': {
    schema: ReplayRequest,
    accepted: [
      ['everything', {}],
      ['every field', { ...whole, rate_per_minute: 1 }],
      ['the highest rate', { rate_per_minute: LIMITS.replaysPerMinuteMax }],
    ],
    refused: [
      ['no rate', { rate_per_minute: 0 }, 'rate_per_minute'],
      ['a rate above the highest', { rate_per_minute: LIMITS.replaysPerMinuteMax + 1 }, 'rate_per_minute'],
      ['the code of a request', { code: 'not_found' }, 'code'],
      ['a misspelt field', { codes: 'canceled' }, 'codes'],
      ['a list', [], 'body'],
    ],
  },
  'discarding by filter': {
    schema: DiscardRequest,
    accepted: [
      ['everything, in words', { all: true }],
      ['every field', whole],
    ],
    refused: [
      ['nothing', {}, 'all'],
      ['not all', { all: false }, 'all'],
      ['a time that does not exist', { from: '2026-02-30T00:00:00Z' }, 'from'],
    ],
  },
}

describe.each(Object.entries(REQUESTS))('%s', (_name, { schema, accepted, refused }) => {
  test.each(accepted)('is accepted: %s', (_case, value) => expectAccepted(schema, value))
  test.each(refused)('is refused at the field at fault: %s', (_case, value, path) => expectRefused(schema, value, path))
})
