import type { Event } from '../contract/event.ts'

const WARNINGS = new Set<Event['type']>(['job.failed', 'credential.disabled', 'credential.cooled'])

/**
 * One JSON line per transition of a job or a credential, for `wrangler tail --format json`. It holds ids and codes, never a
 * prompt, a secret or a message that could repeat one.
 */
export const logTransition = (instance: string, event: Event, requestId: string): void => {
  const { code, attempt, model, retry_in_ms, from, to, cost_usd, provider, credential, until } = event.data
  console.log(
    JSON.stringify({
      level: WARNINGS.has(event.type) ? 'warn' : 'info',
      event: event.type,
      instance,
      job: event.job ?? undefined,
      seq: event.seq,
      request_id: requestId,
      ...{ code, attempt, model, retry_in_ms, from, to, cost_usd, provider, credential, until },
    }),
  )
}
