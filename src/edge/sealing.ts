import { Sealing } from '../contract/credential.ts'
import { callerOf } from './auth.ts'
import { type Context, instanceOf, type Route } from './context.ts'
import { json, unwrap } from './respond.ts'

/** Reading it wakes the instance, which then brings its seals up to date by itself. */
const read = async (context: Context): Promise<Response> =>
  json(unwrap(await instanceOf(context).sealing(await callerOf(context))))

export const sealingRoutes: Route[] = [
  {
    method: 'GET',
    path: '/v1/instances/:instance/sealing',
    summary: 'How far the secrets are sealed under the first master key',
    access: 'key',
    answers: { 200: Sealing },
    handle: read,
  },
]
