import * as v from 'valibot'
import { type Fault, fault } from '../contract/fault.ts'
import { type Json, ModelName } from '../contract/fields.ts'
import { artifactKey } from '../contract/ids.ts'
import type { ImageInput } from '../contract/image.ts'
import { IMAGE_QUALITIES, type ImageGeneration, type ImageList } from '../contract/image-request.ts'
import { type ImageJobRequest, isFinal, type JobRecord, type JobRequest } from '../contract/job.ts'
import { type Caller, fromWire, toWire } from '../contract/rpc.ts'
import { canonicalJson } from '../core/canonical.ts'
import type { SubmitOptions } from '../instance/intake.ts'
import { LIMITS } from '../limits.ts'
import { PROVIDERS } from '../providers/registry.ts'
import { sha256Hex, toBase64 } from '../storage/digest.ts'
import { type Context, instanceOf, Refused } from './context.ts'
import { insist } from './instance-foreground.ts'
import { idempotencyKeyOf } from './jobs.ts'
import { overheadHeader, repeatHeader } from './line-call.ts'
import { artifactUrl } from './present.ts'
import { quotaHeaders } from './quota-headers.ts'
import { refusedBy } from './refused.ts'
import { json, unwrap } from './respond.ts'

/** `POST {base}/images/generations`: a job, waited for. Under an Idempotency-Key it is the one that the key has made. */
export const answerImages = async (context: Context, caller: Caller, request: ImageGeneration): Promise<Response> => {
  const left = new AbortController()
  context.request.signal.addEventListener('abort', () => left.abort(), { once: true })
  const idempotencyKey = idempotencyKeyOf(context.request)
  const fingerprint = idempotencyKey === null ? '' : await sha256Hex(canonicalJson(request as Json))
  const work = finished(context, caller, jobOf(request), { idempotencyKey, fingerprint, waitMs: 0 }, left.signal)
  // How it fails is told below; here it only goes on where the client has left.
  context.waitUntil(work.catch(() => {}))
  const { record, headers, waitedMs } = await work
  const { output } = record
  if (record.status !== 'succeeded' || output === null || !('images' in output)) {
    // Under its key it would be answered the same again.
    throw refusedFor(record, idempotencyKey === null ? headers : { ...headers, 'x-should-retry': 'false' })
  }
  const { images } = output
  const inline = wantsInline(request, images)
  const data: ImageList['data'] = []
  // One after the other: all of them at once would be in memory twice.
  for (const { artifact } of images)
    data.push(inline ? { b64_json: await base64Of(context, artifact) } : { url: await urlOf(context, artifact) })
  const [first] = images
  const body: ImageList = {
    created: Math.floor(Date.parse(record.created_at) / 1000),
    data,
    ...(first
      ? { output_format: first.content_type.slice('image/'.length), size: `${first.width}x${first.height}` }
      : {}),
    job: record.id,
    cost_usd: record.cost_usd,
  }
  const cost = record.cost_usd === null ? {} : { 'x-switchyard-cost-usd': String(record.cost_usd) }
  return json(body, 200, {
    ...headers,
    'x-switchyard-job': record.id,
    ...overheadHeader(Date.now() - context.startedAtMs - waitedMs),
    'x-switchyard-attempts': String(record.attempts.length),
    ...(record.model === null ? {} : { 'x-switchyard-model': record.model }),
    ...droppedHeader(request, record.model),
    ...cost,
  })
}

const OPENAI_FIELDS = ['background', 'moderation', 'output_compression', 'user'] as const

/** What was asked for in a field that only OpenAI knows, where another has made the pictures. */
const droppedHeader = (request: ImageGeneration, model: string | null): Record<string, string> => {
  const asked = OPENAI_FIELDS.filter((field) => (request[field] ?? 'auto') !== 'auto')
  return asked.length === 0 || model?.startsWith('openai/') ? {} : { 'x-switchyard-dropped': asked.join(', ') }
}

/** The job in the words of `POST {base}/jobs`; issues of the models name the fields of this request. */
const jobOf = (request: ImageGeneration): ImageJobRequest => {
  const { prompt, n, size, quality, output_format, style } = request
  const wished = IMAGE_QUALITIES[quality ?? 'auto']
  const openai: Record<string, Json> = { ...request.provider_options?.['openai'] }
  for (const field of OPENAI_FIELDS) if (request[field] !== undefined) openai[field] = request[field]
  const input: ImageInput = {
    prompt,
    ...(n === undefined ? {} : { count: n }),
    ...(size === undefined || size === 'auto' ? {} : { size }),
    ...(wished === null ? {} : { quality: wished }),
    ...(output_format === undefined ? {} : { format: output_format }),
    ...(style === undefined ? {} : { style }),
    provider_options: { ...request.provider_options, ...(Object.keys(openai).length > 0 ? { openai } : {}) },
  }
  const models = [
    ...new Set([...(request.model === undefined ? [] : [wholeName(request.model)]), ...(request.models ?? [])]),
  ]
  if (models.length > LIMITS.modelsPerJob) {
    const message = `"model" and "models" together must name at most ${LIMITS.modelsPerJob} models.`
    throw new Refused(fault('invalid_request', message, { param: 'models' }))
  }
  return {
    type: 'image.generate@1',
    input,
    project: request.project ?? null,
    max_cost_usd: request.max_cost_usd ?? null,
    ...(models.length > 0 ? { models } : {}),
    ...(request.prefer === undefined ? {} : { prefer: request.prefer }),
    ...(request.fallback === undefined ? {} : { fallback: request.fallback }),
    ...(request.deadline_s === undefined ? {} : { deadline_s: request.deadline_s }),
    ...(request.metadata === undefined ? {} : { metadata: request.metadata }),
  }
}

const wholeName = (name: string): string => {
  const having = PROVIDERS.filter(({ models }) => models.some(({ model }) => model === name))
  const [only] = having
  if (only && having.length === 1) return `${only.id}/${name}`
  if (v.is(ModelName, name)) return name
  throw new Refused(fault('not_found', 'There is no such model here: GET models lists them.', { param: 'model' }))
}

/** `waitedMs`: what it took the job to end, in the queue and at the provider. Not our overhead. */
type Finished = { record: JobRecord; headers: Record<string, string>; waitedMs: number }

/**
 * Waits as long as the job's deadline lets it run. Where the client leaves, the job is cancelled; not where it has a key, by
 * which it may come back or another may wait with it.
 */
const finished = async (
  context: Context,
  caller: Caller,
  request: JobRequest,
  options: SubmitOptions,
  left: AbortSignal,
): Promise<Finished> => {
  const submitted = await instanceOf(context).submit(caller, toWire(request), options)
  if (!submitted.ok) throw refusedBy({ ...submitted, fault: inTheirWords(submitted.fault) })
  const headers = {
    ...quotaHeaders(submitted.value.quotas),
    ...(submitted.value.replayed ? { 'idempotency-replayed': 'true' } : {}),
  }
  let record = fromWire(submitted.value.body)
  const cancel = () => {
    if (options.idempotencyKey === null) context.waitUntil(instanceOf(context).cancel(caller, record.id))
  }
  if (left.aborted) cancel()
  else left.addEventListener('abort', cancel, { once: true })
  const wait = async () => instanceOf(context).job(caller, record.id, LIMITS.waitSeconds * 1000, 'jobs')
  const askedAtMs = Date.now()
  while (!isFinal(record.status)) record = fromWire(unwrap(await insist(wait)).body)
  return { record, headers, waitedMs: Date.now() - askedAtMs }
}

const THEIR_FIELDS: Record<string, string> = { 'input.count': 'n', 'input.format': 'output_format', models: 'model' }

/** The field at fault as this request has it. */
const inTheirWords = (problem: Fault): Fault =>
  problem.param === undefined
    ? problem
    : { ...problem, param: THEIR_FIELDS[problem.param] ?? problem.param.replace(/^input\./, '') }

const refusedFor = ({ error, id, attempts }: JobRecord, headers: Record<string, string>): Refused => {
  const problem = fault(error?.code ?? 'canceled', error?.message ?? 'The job was canceled.', {
    source: error?.source ?? 'switchyard',
    ...(error?.param ? { param: error.param } : {}),
    details: { job: id },
  })
  return new Refused(problem, {
    ...headers,
    'x-switchyard-job': id,
    'x-switchyard-attempts': String(attempts.length),
    ...repeatHeader(problem),
  })
}

/** OpenAI's present models answer in base64, so that is what clients read; what is too large for memory goes by address. */
const wantsInline = ({ response_format: format }: ImageGeneration, images: readonly { bytes: number }[]): boolean =>
  format !== 'url' && images.reduce((sum, { bytes }) => sum + bytes, 0) <= LIMITS.answeredImageBytes

const base64Of = async (context: Context, artifact: string): Promise<string> => {
  const key = artifactKey(context.params['instance'] ?? '', artifact)
  const object = key === null ? null : await context.env.ARTIFACTS.get(key)
  if (!object) throw new Refused(fault('artifact_failed', 'A picture was stored and is not there any more.'))
  return toBase64(new Uint8Array(await object.arrayBuffer()))
}

const urlOf = async (context: Context, artifact: string): Promise<string> =>
  (await artifactUrl(context, context.params['instance'] ?? '', artifact)) ?? ''
