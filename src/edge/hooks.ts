import * as v from 'valibot'
import { fault } from '../contract/fault.ts'
import { JobId } from '../contract/ids.ts'
import { readText } from './body.ts'
import { type Context, instanceOf, Refused, type Route } from './context.ts'
import { integerQuery } from './query.ts'
import { noContent, unwrap } from './respond.ts'

/** Where providers tell that a generation has ended. Authenticated by the provider's signature, not by a key. */
const deliver = async (context: Context): Promise<Response> => {
  const { job, attempt } = context.query
  if (typeof job !== 'string' || typeof attempt !== 'number')
    throw new Refused(fault('not_found', 'There is nothing at this path.'))
  const body = await readText(context.request)
  const headers = [...context.request.headers].filter(([name]) => name.startsWith('webhook-') || name.startsWith('x-'))
  unwrap(
    await instanceOf(context).hook({
      provider: context.params['provider'] ?? '',
      headers,
      body,
      attempt: { job, attempt },
    }),
  )
  return noContent()
}

export const hookRoutes: Route[] = [
  {
    method: 'POST',
    path: '/v1/instances/:instance/hooks/:provider',
    summary: 'A provider’s webhook, verified by its signature',
    access: 'open',
    query: { job: v.optional(JobId), attempt: v.optional(integerQuery(1, 1_000_000)) },
    answers: { 204: null },
    handle: deliver,
  },
]
