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
      batch: event.batch,
      seq: event.seq,
      request_id: requestId,
      ...{ code, attempt, model, retry_in_ms, from, to, cost_usd },
    }),
  )
}
