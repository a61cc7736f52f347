import * as v from 'valibot'
import { fault } from '../contract/fault.ts'
import { type Json, Name } from '../contract/fields.ts'
import { BatchId, JobId } from '../contract/ids.ts'
import { isFinal, Job, JobPage, JobRequest, NODE_NAMES, NODE_TYPES, STATUSES } from '../contract/job.ts'
import { fromWire, toWire } from '../contract/rpc.ts'
import { canonicalJson } from '../core/canonical.ts'
import type { JobFilter } from '../instance/job-rows.ts'
import { LIMITS } from '../limits.ts'
import { sha256Hex } from '../storage/digest.ts'
import { callerOf } from './auth.ts'
import { readBody } from './body.ts'
import { type Context, instanceOf, Refused, type Route } from './context.ts'
import { guardGiven } from './given-addresses.ts'
import { jobUrl, presentJob, presentJobText } from './present.ts'
import { integerQuery } from './query.ts'
import { quotaHeaders } from './quota-headers.ts'
import { json, jsonBody, unwrap } from './respond.ts'

const submit = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const idempotencyKey = idempotencyKeyOf(context.request)
  const request = await readBody(context, JobRequest)
  guardGiven(context, request.input, 'input.')
  const waitS = waitSeconds(context.request)
  const submitted = unwrap(
    await instanceOf(context).submit(caller, toWire(request), {
      idempotencyKey,
      fingerprint: idempotencyKey === null ? '' : await sha256Hex(canonicalJson(request as Json)),
      waitMs: waitS * 1000,
    }),
  )
  const { body, quotas, id = fromWire(body).id } = submitted
  const ended = waitS > 0 && isFinal(fromWire(body).status)
  return jsonBody(await presentJobText(context, id, body), ended ? 201 : 202, {
    ...quotaHeaders(quotas),
    location: jobUrl(context, context.params['instance'] ?? '', id),
    ...(waitS > 0 ? { 'preference-applied': `wait=${waitS}` } : {}),
    ...(submitted.replayed ? { 'idempotency-replayed': 'true' } : {}),
  })
}

const read = async (context: Context): Promise<Response> => {
  const waitS = waitSeconds(context.request)
  const id = jobIdOf(context)
  const { body, quotas } = unwrap(await instanceOf(context).job(await callerOf(context), id, waitS * 1000))
  return jsonBody(await presentJobText(context, id, body), 200, {
    ...quotaHeaders(quotas),
    ...(waitS > 0 ? { 'preference-applied': `wait=${waitS}` } : {}),
  })
}

const list = async (context: Context): Promise<Response> => {
  const { status, type, project, batch, after, limit } = context.query
  const filter: JobFilter = { limit: typeof limit === 'number' ? limit : LIMITS.pageDefault }
  if (typeof status === 'string') filter.status = STATUSES.find((known) => known === status) ?? 'queued'
  if (typeof type === 'string') filter.type = type.includes('@') ? type : `${type}@1`
  if (typeof project === 'string') filter.project = project
  if (typeof batch === 'string') filter.batch = batch
  if (typeof after === 'string') filter.before = after
  const { body, quotas } = unwrap(await instanceOf(context).jobs(await callerOf(context), filter))
  const { data, next } = fromWire(body)
  const presented = await Promise.all(data.map((record) => presentJob(context, record)))
  return json({ data: presented, next }, 200, quotaHeaders(quotas))
}

const cancel = async (context: Context): Promise<Response> => {
  const { body, quotas } = unwrap(await instanceOf(context).cancel(await callerOf(context), jobIdOf(context)))
  return json(await presentJob(context, fromWire(body)), 200, quotaHeaders(quotas))
}

/** A failed job runs again. */
const replay = async (context: Context): Promise<Response> => {
  const { body, quotas } = unwrap(await instanceOf(context).replay(await callerOf(context), jobIdOf(context)))
  const job = await presentJob(context, fromWire(body))
  return json(job, 202, { ...quotaHeaders(quotas), location: job.urls.get })
}

/** A path that cannot be a job's id is answered like one that is none. */
export const jobIdOf = (context: Context): string => {
  const id = v.safeParse(JobId, context.params['id'])
  if (!id.success) throw new Refused(fault('not_found', 'There is no such job.'))
  return id.output
}

/** `Prefer: wait=n` (RFC 7240); what is not understood is ignored, what is too long is cut to a minute. */
const waitSeconds = (request: Request): number => {
  const wait = /(?:^|[,;])\s*wait\s*=\s*"?(\d{1,6})"?\s*(?:[,;]|$)/i.exec(request.headers.get('prefer') ?? '')
  return wait ? Math.min(Number(wait[1]), LIMITS.waitSeconds) : 0
}

export const idempotencyKeyOf = (request: Request): string | null => {
  const key = request.headers.get('idempotency-key')
  if (key === null) return null
  if (key.length < 1 || key.length > LIMITS.idempotencyKeyCharacters || !/^[\x20-\x7e]+$/.test(key)) {
    const message = `Idempotency-Key must be 1 to ${LIMITS.idempotencyKeyCharacters} printable ASCII characters.`
    throw new Refused(fault('invalid_request', message, { param: 'Idempotency-Key' }))
  }
  return key
}

const listQuery = {
  status: v.optional(v.picklist(STATUSES, `must be one of ${STATUSES.join(', ')}`)),
  type: v.optional(v.picklist([...NODE_NAMES, ...NODE_TYPES], 'must be a node type')),
  project: v.optional(Name),
  batch: v.optional(BatchId),
  after: v.optional(JobId),
  limit: v.optional(integerQuery(1, LIMITS.pageMax)),
}

export const jobRoutes: Route[] = [
  {
    method: 'POST',
    path: '/v1/instances/:instance/jobs',
    summary: 'Submit a job',
    access: 'key',
    body: JobRequest,
    answers: { 202: Job, 201: Job },
    handle: submit,
  },
  {
    method: 'GET',
    path: '/v1/instances/:instance/jobs',
    summary: 'List jobs, newest first',
    access: 'key',
    query: listQuery,
    answers: { 200: JobPage },
    handle: list,
  },
  {
    method: 'GET',
    path: '/v1/instances/:instance/jobs/:id',
    summary: 'Read a job',
    access: 'key',
    answers: { 200: Job },
    handle: read,
  },
  {
    method: 'POST',
    path: '/v1/instances/:instance/jobs/:id/cancel',
    summary: 'Cancel a job',
    access: 'key',
    answers: { 200: Job },
    handle: cancel,
  },
  {
    method: 'POST',
    path: '/v1/instances/:instance/jobs/:id/replay',
    summary: 'Run a failed job again',
    access: 'key',
    answers: { 202: Job },
    handle: replay,
  },
]
