import * as v from 'valibot'
import { DURABLE_EVENTS, type DurableEvent } from './event.ts'

/**
 * The instance's log: the events of its jobs, and lines about what is no job's. A line holds ids, names and codes, never a
 * prompt, a secret or a provider's words.
 */

export const LOG_LEVELS = ['info', 'warn', 'error'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

/** `admin`: only keys that may configure the instance are told. A key of one project is told of its jobs only. */
type About = { level: LogLevel; audience: 'read' | 'admin' }

/** What is no job's event. Names are fixed; more may be added. */
export const LOG_LINES = {
  'breaker.opened': { level: 'warn', audience: 'read' },
  'breaker.closed': { level: 'info', audience: 'read' },
  'limits.narrowed': { level: 'warn', audience: 'read' },
  'limits.restored': { level: 'info', audience: 'read' },
  'credential.created': { level: 'info', audience: 'admin' },
  'credential.changed': { level: 'info', audience: 'admin' },
  'credential.deleted': { level: 'info', audience: 'admin' },
  'provider.configured': { level: 'info', audience: 'admin' },
  'instance.configured': { level: 'info', audience: 'admin' },
  'key.created': { level: 'info', audience: 'admin' },
  'key.revoked': { level: 'info', audience: 'admin' },
  'instance.turn_failed': { level: 'error', audience: 'admin' },
  'instance.end_failed': { level: 'error', audience: 'admin' },
  'instance.lane_not_asked': { level: 'error', audience: 'admin' },
  'instance.sealing_failed': { level: 'error', audience: 'admin' },
  'instance.trimming_failed': { level: 'error', audience: 'admin' },
  'instance.after_commit_failed': { level: 'error', audience: 'admin' },
} as const satisfies Record<string, About>
export type LineEvent = keyof typeof LOG_LINES
export const LINE_EVENTS = Object.keys(LOG_LINES) as LineEvent[]

/** What did not go as it should. The rest of the events is the ordinary course. */
const GRAVE: { readonly [event in DurableEvent]?: LogLevel } = {
  'job.retrying': 'warn',
  'job.fallback': 'warn',
  'job.failed': 'warn',
  'credential.disabled': 'error',
  'credential.cooled': 'warn',
  'budget.alert': 'warn',
}

export const LOG_EVENTS = [...DURABLE_EVENTS, ...LINE_EVENTS]
export type LogEvent = DurableEvent | LineEvent

export const levelOf = (event: LogEvent): LogLevel => {
  if (event in LOG_LINES) return LOG_LINES[event as LineEvent].level
  return GRAVE[event as DurableEvent] ?? 'info'
}

/** At least as grave. */
export const reaches = (event: LogEvent, level: LogLevel): boolean =>
  LOG_LEVELS.indexOf(levelOf(event)) >= LOG_LEVELS.indexOf(level)

/** A place in the log: the number of the last event, and for what is no event the number of the line behind it. */
export type LogPlace = { seq: number; number: number }

export const placeText = ({ seq, number }: LogPlace): string => (number === 0 ? `${seq}` : `${seq}.${number}`)

export const LogId = v.pipe(v.string(), v.regex(/^\d{1,15}(\.\d{1,15})?$/, 'must be the id of a line, as in next'))

export const placeOf = (id: string): LogPlace => {
  const [seq, number] = id.split('.')
  return { seq: Number(seq), number: Number(number ?? 0) }
}

const LogLine = v.object({
  id: v.string(),
  at: v.string(),
  level: v.picklist(LOG_LEVELS),
  event: v.picklist(LOG_EVENTS),
  job: v.nullable(v.string()),
  request_id: v.nullable(v.string()),
  project: v.nullable(v.string()),
  data: v.record(v.string(), v.any()),
})
export type LogLine = Omit<v.InferOutput<typeof LogLine>, 'data'> & { data: { [key: string]: LogValue } }
export type LogValue = string | number | boolean | null | string[]

/** Newest first. `next` is null at the end. */
export const LogPage = v.object({ data: v.array(LogLine), next: v.nullable(v.string()) })
export type LogPage = { data: LogLine[]; next: string | null }

export type LogFilter = {
  /** At least this. */
  level: LogLevel
  event: LogEvent | null
  job: string | null
  requestId: string | null
  /** Ms since the epoch; the end is not included. */
  fromMs: number | null
  toMs: number | null
  /** A line's id: what is older. */
  after: string | null
  limit: number
}
