import * as v from 'valibot'
import { Name, Timestamp } from '../contract/fields.ts'
import { JobId } from '../contract/ids.ts'
import { LOG_EVENTS, LOG_LEVELS, type LogFilter, LogId, LogPage } from '../contract/log.ts'
import { fromWire } from '../contract/rpc.ts'
import { INTERVALS, USAGE_GROUPS, UsageReport } from '../contract/usage-report.ts'
import { LIMITS } from '../limits.ts'
import { callerOf } from './auth.ts'
import { type Context, instanceOf, type Route } from './context.ts'
import { integerQuery } from './query.ts'
import { json, unwrap } from './respond.ts'

/** What an instance has used, and what it has to tell its operator. */

const textOf = (context: Context, name: string): string | null => {
  const value = context.query[name]
  return typeof value === 'string' ? value : null
}

const timeOf = (context: Context, name: string): number | null => {
  const text = textOf(context, name)
  return text === null ? null : Date.parse(text)
}

const readUsage = async (context: Context): Promise<Response> => {
  const named = (textOf(context, 'group_by') ?? '').split(',')
  const usage = await instanceOf(context).usage(await callerOf(context), {
    fromMs: timeOf(context, 'from'),
    toMs: timeOf(context, 'to'),
    interval: textOf(context, 'interval') === 'hour' ? 'hour' : 'day',
    groupBy: USAGE_GROUPS.filter((group) => named.includes(group)),
    project: textOf(context, 'project'),
  })
  return json(fromWire(unwrap(usage)))
}

const readLog = async (context: Context): Promise<Response> => {
  const { limit } = context.query
  const level = textOf(context, 'level')
  const event = textOf(context, 'event')
  const filter: LogFilter = {
    level: LOG_LEVELS.find((known) => known === level) ?? 'info',
    event: LOG_EVENTS.find((known) => known === event) ?? null,
    job: textOf(context, 'job'),
    requestId: textOf(context, 'request_id'),
    fromMs: timeOf(context, 'from'),
    toMs: timeOf(context, 'to'),
    after: textOf(context, 'after'),
    limit: typeof limit === 'number' ? limit : LIMITS.pageDefault,
  }
  return json(fromWire(unwrap(await instanceOf(context).logs(await callerOf(context), filter))))
}

const isGroups = (text: string): boolean => {
  const named = text.split(',')
  return named.every((name) => USAGE_GROUPS.some((known) => known === name)) && new Set(named).size === named.length
}

const base = '/v1/instances/:instance'

export const usageRoutes: Route[] = [
  {
    method: 'GET',
    path: `${base}/usage`,
    summary: 'Counts, tokens, cost, errors and latencies by hour or day',
    access: 'key',
    query: {
      from: v.optional(Timestamp),
      to: v.optional(Timestamp),
      interval: v.optional(v.picklist(INTERVALS, `must be one of ${INTERVALS.join(', ')}`)),
      group_by: v.optional(
        v.pipe(v.string(), v.check(isGroups, `must name some of ${USAGE_GROUPS.join(', ')}, by comma, each once`)),
      ),
      project: v.optional(Name),
    },
    answers: { 200: UsageReport },
    handle: readUsage,
  },
  {
    method: 'GET',
    path: `${base}/logs`,
    summary: 'The log of the instance, newest first',
    access: 'key',
    query: {
      level: v.optional(v.picklist(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(', ')}`)),
      event: v.optional(v.picklist(LOG_EVENTS, 'must be the name of an event of the log')),
      job: v.optional(JobId),
      request_id: v.optional(
        v.pipe(
          v.string(),
          v.maxLength(LIMITS.requestIdCharacters, `must be at most ${LIMITS.requestIdCharacters} characters`),
          v.regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces'),
        ),
      ),
      from: v.optional(Timestamp),
      to: v.optional(Timestamp),
      after: v.optional(LogId),
      limit: v.optional(integerQuery(1, LIMITS.pageMax)),
    },
    answers: { 200: LogPage },
    handle: readLog,
  },
]
