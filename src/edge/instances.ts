import * as v from 'valibot'
import { fault } from '../contract/fault.ts'
import { Instance, InstancePatch, InstanceRequest } from '../contract/instance.ts'
import { fromWire } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import {
  createInstanceRow,
  deleteInstanceRow,
  ensureOrganization,
  listInstances,
  readInstanceRow,
  settleInstanceRow,
} from '../storage/directory.ts'
import { callerOf, requireRoot } from './auth.ts'
import { readBody } from './body.ts'
import { type Context, instanceOf, Refused, type Route } from './context.ts'
import { integerQuery } from './query.ts'
import { json, noContent, unwrap } from './respond.ts'

const create = async (context: Context): Promise<Response> => {
  await requireRoot(context)
  const { id, organization = null, config = {} } = await readBody(context, InstanceRequest)
  // The directory first: a row without an actor is made good by asking again, an actor without a row is never found.
  const existing = await readInstanceRow(context.env.DIRECTORY, id)
  if (existing && existing.organization !== organization)
    throw new Refused(fault('conflict', 'An instance of this id exists.', { param: 'id' }))
  if (organization !== null) await ensureOrganization(context.env.DIRECTORY, organization, Date.now())
  await createInstanceRow(context.env.DIRECTORY, id, organization, Date.now())
  const instance = fromWire(unwrap(await context.env.INSTANCE.getByName(id).provision(id, organization, config)))
  await settleInstanceRow(context.env.DIRECTORY, id, organization, Date.parse(instance.created_at))
  return json(instance, 201, { location: `${context.url.origin}/v1/instances/${id}` })
}

const list = async (context: Context): Promise<Response> => {
  await requireRoot(context)
  const limit = typeof context.query['limit'] === 'number' ? context.query['limit'] : LIMITS.pageDefault
  const { rows, next } = await listInstances(context.env.DIRECTORY, String(context.query['after'] ?? ''), limit)
  const data = rows.map((row) => ({
    id: row.id,
    object: 'instance',
    organization: row.organization,
    created_at: new Date(row.createdAtMs).toISOString(),
  }))
  return json({ data, next })
}

const read = async (context: Context): Promise<Response> =>
  json(fromWire(unwrap(await instanceOf(context).describe(await callerOf(context)))))

const change = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const { config } = await readBody(context, InstancePatch)
  return json(fromWire(unwrap(await instanceOf(context).configure(caller, config))))
}

/**
 * The actor first, so that a deletion that broke off can be asked for again. Between its end and the row's, another may
 * make the instance anew: only the row that stood there before goes.
 */
const remove = async (context: Context): Promise<Response> => {
  await requireRoot(context)
  const listed = await readInstanceRow(context.env.DIRECTORY, context.params['instance'] ?? '')
  const destroyed = await instanceOf(context).destroy()
  const wasListed = listed !== null && (await deleteInstanceRow(context.env.DIRECTORY, listed))
  if (!destroyed.ok && !wasListed) throw new Refused(fault('not_found', 'There is no such instance.'))
  return noContent()
}

const { config: _, ...listed } = Instance.entries

export const instanceRoutes: Route[] = [
  {
    method: 'POST',
    path: '/v1/instances',
    summary: 'Provision an instance',
    access: 'root',
    body: InstanceRequest,
    answers: { 201: Instance },
    handle: create,
  },
  {
    method: 'GET',
    path: '/v1/instances',
    summary: 'List instances',
    access: 'root',
    query: {
      after: v.optional(v.pipe(v.string(), v.maxLength(63))),
      limit: v.optional(integerQuery(1, LIMITS.instancesPerPage)),
    },
    answers: { 200: v.object({ data: v.array(v.object(listed)), next: v.nullable(v.string()) }) },
    handle: list,
  },
  {
    method: 'GET',
    path: '/v1/instances/:instance',
    summary: 'Read an instance',
    access: 'key',
    answers: { 200: Instance },
    handle: read,
  },
  {
    method: 'PATCH',
    path: '/v1/instances/:instance',
    summary: 'Configure an instance',
    access: 'key',
    body: InstancePatch,
    answers: { 200: Instance },
    handle: change,
  },
  {
    method: 'DELETE',
    path: '/v1/instances/:instance',
    summary: 'Delete an instance with all its data',
    access: 'root',
    answers: { 204: null },
    handle: remove,
  },
]
