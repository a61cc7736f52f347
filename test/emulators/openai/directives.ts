import { type CallDirectives, readersOf } from '../base/calls/directives.ts'

/** Besides those of `base/calls/directives.ts`. */
const names = [
  // What is answered.
  'refuse',
  'cached',
  'written',
  'reasoning',
  // Before acceptance: nothing is generated or billed.
  'retry_after',
  'retry_after_ms',
  'should_retry',
  'reject',
  'guardrail',
  // After acceptance: billed, but the answer is late, wrong or missing.
  'unsafe',
  'cache_hit',
  // In a stream.
  'no_done',
  'crlf',
] as const

export type Directives = CallDirectives<(typeof names)[number]>

export const { readDirectives, readFaultSetting } = readersOf({
  names,
  whole: [],
  statuses: [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 520, 524],
})
