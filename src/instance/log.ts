import type { Event } from '../contract/event.ts'

const WARNINGS = new Set<Event['type']>(['job.failed', 'credential.disabled', 'credential.cooled', 'budget.alert'])

/**
 * One JSON line per durable event, for `wrangler tail --format json`. It holds ids and codes, never a prompt, a secret or a
 * message that could repeat one.
 */
export const logTransition = (instance: string, event: Event, requestId: string): void => {
  const { code, attempt, model, retry_in_ms, from, to, cost_usd, provider, credential, until, scope, threshold } =
    event.data
  console.log(
    JSON.stringify({
      level: WARNINGS.has(event.type) ? 'warn' : 'info',
      event: event.type,
      instance,
      job: event.job ?? undefined,
      batch: event.batch,
      seq: event.seq,
      request_id: requestId || undefined,
      ...{ code, attempt, model, retry_in_ms, from, to, cost_usd, provider, credential, until, scope, threshold },
    }),
  )
}

/** A job's row that this version cannot read: which columns, never what stands in them. */
export const logUnreadable = (instance: string, job: string, columns: string[]): void =>
  console.error(JSON.stringify({ level: 'error', event: 'job.unreadable', instance, job, columns }))
