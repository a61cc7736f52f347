import { DURABLE_EVENTS, type DurableEvent } from '../contract/event.ts'
import { ok, type Result, refuse } from '../contract/fault.ts'
import {
  LINE_EVENTS,
  type LineEvent,
  LOG_LINES,
  type LogEvent,
  type LogFilter,
  type LogLine,
  type LogPage,
  type LogPlace,
  type LogValue,
  levelOf,
  placeOf,
  placeText,
  reaches,
} from '../contract/log.ts'
import type { Principal } from './access.ts'
import type { LogRow, LogSearch, LogStore } from './log-store.ts'
import { isoTime } from './views.ts'

/** The log as clients read it: the events of jobs and the lines between them, newest first. */

/** Of an event's data, what a line may tell: messages may hold a provider's words, and outputs are no matter of a log. */
const TOLD = [
  'attempt',
  'code',
  'cost_usd',
  'credential',
  'from',
  'limit_usd',
  'model',
  'priority',
  'provider',
  'request_id',
  'retry_in_ms',
  'scope',
  'spent_usd',
  'status',
  'threshold',
  'to',
  'type',
  'until',
]

const NOWHERE: LogPlace = { seq: 0, number: 0 }
const EVERYTHING: LogPlace = { seq: Number.MAX_SAFE_INTEGER, number: Number.MAX_SAFE_INTEGER }

/** A key of one project is told of that project's jobs only; changes of the configuration are told to admins. */
export const readLog = (store: LogStore, principal: Principal, filter: LogFilter): Result<LogPage> => {
  if (filter.fromMs !== null && filter.toMs !== null && filter.fromMs >= filter.toMs)
    return refuse('invalid_request', 'from must be before to.', { param: 'from' })
  const search = {
    before: filter.after === null ? EVERYTHING : placeOf(filter.after),
    project: principal.project,
    fromMs: filter.fromMs ?? 0,
    toMs: filter.toMs ?? Number.MAX_SAFE_INTEGER,
    // One more than the page holds shows whether there is a next.
    limit: filter.limit + 1,
  }
  const events = store.events({ ...search, ...ofEvents(store, filter), requestId: null })
  const lines = store.lines({ ...search, ...ofLines(principal, filter) })
  // What one of the two has not looked at yet may stand between lines of the other.
  const floor = latest(events.reached, lines.reached)
  const all = [...events.rows, ...lines.rows].sort((a, b) => compare(b, a)).filter((row) => compare(row, floor) >= 0)
  const page = all.slice(0, filter.limit)
  const last = page.at(-1)
  const next =
    all.length > filter.limit && last ? placeText(last) : compare(floor, NOWHERE) > 0 ? placeText(floor) : null
  return ok({ data: page.map(lineOf), next })
}

type Sought<E> = Pick<LogSearch<E>, 'events' | 'jobs' | 'requestId'>

const wanted = (filter: LogFilter) => (event: LogEvent) =>
  reaches(event, filter.level) && (filter.event === null || filter.event === event)

/** An event knows its request by its job. */
const ofEvents = (store: LogStore, filter: LogFilter): Pick<Sought<DurableEvent>, 'events' | 'jobs'> => {
  const ofRequest = filter.requestId === null ? null : store.jobsOf(filter.requestId)
  const { job } = filter
  const jobs = job === null ? ofRequest : ofRequest === null || ofRequest.includes(job) ? [job] : []
  return { events: DURABLE_EVENTS.filter(wanted(filter)), jobs }
}

const ofLines = (principal: Principal, filter: LogFilter): Sought<LineEvent> => ({
  events: LINE_EVENTS.filter(wanted(filter)).filter(
    (event) => LOG_LINES[event].audience === 'read' || principal.scopes.includes('admin'),
  ),
  jobs: filter.job === null ? null : [filter.job],
  requestId: filter.requestId,
})

const compare = (a: LogPlace, b: LogPlace): number => a.seq - b.seq || a.number - b.number

const latest = (a: LogPlace | null, b: LogPlace | null): LogPlace => {
  if (a === null || b === null) return a ?? b ?? NOWHERE
  return compare(a, b) > 0 ? a : b
}

const lineOf = (row: LogRow): LogLine => ({
  id: placeText(row),
  at: isoTime(row.at_ms),
  level: levelOf(row.event),
  event: row.event,
  job: row.job,
  request_id: row.request_id,
  project: row.project,
  data: row.number === 0 ? picked(row.data) : row.data,
})

const picked = (data: { [key: string]: LogValue }): { [key: string]: LogValue } =>
  Object.fromEntries(Object.entries(data).filter(([name, value]) => TOLD.includes(name) && value !== undefined))
