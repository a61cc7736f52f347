import { type CallDirectives, readersOf } from '../base/calls/directives.ts'

/** Besides those of `base/calls/directives.ts`. */
const names = [
  // What is answered.
  'thoughts',
  'cached',
  'tool_use',
  'block',
  'no_candidates',
  'draft',
  // Before acceptance: nothing is generated or billed.
  'reason',
  'quota',
  'retry',
  'words',
  // In a stream.
  'no_finish',
  'lf',
] as const

export type Directives = CallDirectives<(typeof names)[number]>

export const { readDirectives, readFaultSetting } = readersOf({
  names,
  whole: ['words'],
  statuses: [400, 401, 403, 404, 408, 409, 413, 429, 499, 500, 502, 503, 504, 520, 524],
})
