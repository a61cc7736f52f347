import type { Event } from '../contract/event.ts'

/**
 * One JSON line per durable event, for `wrangler tail --format json`. It holds ids and codes, never a prompt, a
 * secret or a message that could repeat one.
 */
export const logTransition = (instance: string, event: Event, requestId: string): void => {
  const { code, attempt, model, retry_in_ms, from, to, cost_usd, scope, threshold } = event.data
  console.log(
    JSON.stringify({
      level: event.type === 'job.failed' || event.type === 'budget.alert' ? 'warn' : 'info',
      event: event.type,
      instance,
      job: event.job ?? undefined,
      seq: event.seq,
      request_id: requestId || undefined,
      ...{ code, attempt, model, retry_in_ms, from, to, cost_usd, scope, threshold },
    }),
  )
}
