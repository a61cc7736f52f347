import { type CallDirectives, readersOf } from '../base/calls/directives.ts'

/** Besides those of `base/calls/directives.ts`. */
const names = [
  // What is answered.
  'think',
  'redacted',
  'refuse',
  'read',
  'written',
  'written_1h',
  'reasoning',
  // Before acceptance: nothing is generated or billed.
  'retry_after',
  'retry_after_ms',
  'should_retry',
  'credit',
  // After acceptance: billed, but the answer is late, wrong or missing.
  'filtered',
  // In a stream.
  'no_stop',
  'crlf',
  'strangers',
] as const

export type Directives = CallDirectives<(typeof names)[number]>

export const { readDirectives, readFaultSetting } = readersOf({
  names,
  whole: ['think'],
  statuses: [400, 401, 402, 403, 404, 408, 409, 413, 429, 500, 502, 503, 504, 520, 524, 529],
})
