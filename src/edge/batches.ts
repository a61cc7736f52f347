import * as v from 'valibot'
import { Batch, BatchPage, type BatchRecord, BatchRequest } from '../contract/batch.ts'
import { fault } from '../contract/fault.ts'
import { type Json, Name } from '../contract/fields.ts'
import { BatchId } from '../contract/ids.ts'
import { fromWire, toWire } from '../contract/rpc.ts'
import { canonicalJson } from '../core/canonical.ts'
import { LIMITS } from '../limits.ts'
import { sha256Hex } from '../storage/digest.ts'
import { callerOf } from './auth.ts'
import { readBody } from './body.ts'
import { type Context, instanceOf, Refused, type Route } from './context.ts'
import { guardGiven } from './given-addresses.ts'
import { idempotencyKeyOf } from './jobs.ts'
import { integerQuery } from './query.ts'
import { quotaHeaders } from './quota-headers.ts'
import { json, unwrap } from './respond.ts'

const submit = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const idempotencyKey = idempotencyKeyOf(context.request)
  const request = await readBody(context, BatchRequest, LIMITS.batchBodyBytes)
  for (const [at, { input }] of request.jobs.entries()) guardGiven(context, input, `jobs.${at}.input.`)
  const fingerprint = idempotencyKey === null ? '' : await sha256Hex(canonicalJson(request as Json))
  const submitted = unwrap(
    await instanceOf(context).submitBatch(caller, toWire(request), { idempotencyKey, fingerprint }),
  )
  const batch = presentBatch(context, fromWire(submitted.body))
  return json(batch, 202, {
    ...quotaHeaders(submitted.quotas),
    location: batch.urls.get,
    ...(submitted.replayed ? { 'idempotency-replayed': 'true' } : {}),
  })
}

const read = async (context: Context): Promise<Response> => {
  const { body, quotas } = unwrap(await instanceOf(context).batch(await callerOf(context), batchIdOf(context)))
  return json(presentBatch(context, fromWire(body)), 200, quotaHeaders(quotas))
}

const list = async (context: Context): Promise<Response> => {
  const { project, after, limit } = context.query
  const filter = {
    limit: typeof limit === 'number' ? limit : LIMITS.pageDefault,
    ...(typeof project === 'string' ? { project } : {}),
    ...(typeof after === 'string' ? { before: after } : {}),
  }
  const { body, quotas } = unwrap(await instanceOf(context).batches(await callerOf(context), filter))
  const { data, next } = fromWire(body)
  return json({ data: data.map((record) => presentBatch(context, record)), next }, 200, quotaHeaders(quotas))
}

const cancel = async (context: Context): Promise<Response> => {
  const { body, quotas } = unwrap(await instanceOf(context).cancelBatch(await callerOf(context), batchIdOf(context)))
  return json(presentBatch(context, fromWire(body)), 200, quotaHeaders(quotas))
}

/** A path that cannot be a batch's id is answered like one that is none. */
export const batchIdOf = (context: Context): string => {
  const id = v.safeParse(BatchId, context.params['id'])
  if (!id.success) throw new Refused(fault('not_found', 'There is no such batch.'))
  return id.output
}

const presentBatch = (context: Context, record: BatchRecord): Batch => {
  const base = `${context.url.origin}/v1/instances/${record.instance}`
  const get = `${base}/batches/${record.id}`
  return {
    ...record,
    urls: { get, cancel: `${get}/cancel`, jobs: `${base}/jobs?batch=${record.id}`, events: `${get}/events` },
  }
}

export const batchRoutes: Route[] = [
  {
    method: 'POST',
    path: '/v1/instances/:instance/batches',
    summary: 'Submit jobs together: all are admitted, or none',
    access: 'key',
    body: BatchRequest,
    answers: { 202: Batch },
    handle: submit,
  },
  {
    method: 'GET',
    path: '/v1/instances/:instance/batches',
    summary: 'List batches, newest first',
    access: 'key',
    query: {
      project: v.optional(Name),
      after: v.optional(BatchId),
      limit: v.optional(integerQuery(1, LIMITS.pageMax)),
    },
    answers: { 200: BatchPage },
    handle: list,
  },
  {
    method: 'GET',
    path: '/v1/instances/:instance/batches/:id',
    summary: 'Read a batch',
    access: 'key',
    answers: { 200: Batch },
    handle: read,
  },
  {
    method: 'POST',
    path: '/v1/instances/:instance/batches/:id/cancel',
    summary: 'Cancel every job of a batch that has not ended',
    access: 'key',
    answers: { 200: Batch },
    handle: cancel,
  },
]
