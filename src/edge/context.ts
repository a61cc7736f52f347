import type * as v from 'valibot'
import type { Env } from '../env.ts'
import type { Instance } from '../instance/instance.ts'

export { Refused } from './refused.ts'

/** One request on its way through the edge. */
export type Context = {
  request: Request
  env: Env
  url: URL
  requestId: string
  params: Record<string, string>
  /** The checked query. */
  query: Record<string, string | number | null | undefined>
  /** When the request arrived, in ms since the epoch. */
  startedAtMs: number
  /** Lets work go on behind the answer, and after the client has left. */
  waitUntil(work: Promise<unknown>): void
}

/** A route as data: the router, the 405 answers and the OpenAPI document are made from the same table. */
export type Route = {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  path: string
  summary: string
  /** Who may call it; `open` needs no key. */
  access: 'open' | 'root' | 'key'
  query?: Record<string, v.GenericSchema<string | undefined, string | number | undefined>>
  body?: v.GenericSchema
  /** Body of the good answer, by status; null where there is none. */
  answers: Record<number, v.GenericSchema | null | 'image' | 'events'>
  /** Answers that never end have no HEAD. */
  endless?: boolean
  handle(context: Context): Promise<Response>
}

export const instanceOf = (context: Context): DurableObjectStub<Instance> =>
  context.env.INSTANCE.getByName(context.params['instance'] ?? '')
