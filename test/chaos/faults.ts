/** What the emulators do to a fifth of all creates: directives of `../emulators/ideogram/faults.ts`, one drawn at a time. */

const refusals = ['fail:429', 'fail:429 retry_after:1', 'fail:429 retry_after:2', 'fail:500', 'fail:503', 'reject']
const lostBeforeAcceptance = ['cut_before']
const lostAfterAcceptance = ['stall', 'cut_after', 'malformed', 'garbage', 'truncated']
const onPolls = ['poll_fail:500:2', 'poll_fail:429:1', 'poll_cut:2', 'unsafe', 'async_fail', 'slow:2500']
const onDownloads = [
  'truncated_image',
  'short_image',
  'wrong_type',
  'bad_image',
  'image_fail:500:1',
  'expired',
  'slow_image:1500',
]

export const FAULT_RATE = 0.2

/** Of both emulators; `fail:429:inflight_limit` is Ideogram's own. */
export const FAULTS = [...refusals, ...lostBeforeAcceptance, ...lostAfterAcceptance, ...onPolls, ...onDownloads]
export const IDEOGRAM_FAULTS = [...FAULTS, 'fail:429:inflight_limit']
