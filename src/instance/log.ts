import type { Event } from '../contract/event.ts'

/**
 * One JSON line per transition of a job, for `wrangler tail --format json`. It holds ids and codes, never a prompt, a
 * secret or a message that could repeat one.
 */
export const logTransition = (instance: string, event: Event, requestId: string): void => {
  const { code, attempt, model, retry_in_ms, from, to, cost_usd } = event.data
  console.log(
    JSON.stringify({
      level: event.type === 'job.failed' ? 'warn' : 'info',
      event: event.type,
      instance,
      job: event.job,
      seq: event.seq,
      request_id: requestId,
      ...{ code, attempt, model, retry_in_ms, from, to, cost_usd },
    }),
  )
}

/** A job's row that this version cannot read: which columns, never what stands in them. */
export const logUnreadable = (instance: string, job: string, columns: string[]): void =>
  console.error(JSON.stringify({ level: 'error', event: 'job.unreadable', instance, job, columns }))
