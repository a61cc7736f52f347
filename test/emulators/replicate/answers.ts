import { failsAtFirst, isPollCut } from '../base/jobs/faults.ts'
import { type Exchange, sendJson } from '../base/wire.ts'
import { fileUrl } from './files.ts'
import type { Prediction } from './ledger.ts'
import { notFound, problemOf } from './problems.ts'
import type { State } from './state.ts'

/** Times as the provider writes them: microseconds. */
const timeOf = (ms: number): string => new Date(ms).toISOString().replace('Z', '000Z')

/** Whether input, output and logs are gone: an hour after the end. */
export const isRemoved = (state: State, { record }: Prediction): boolean =>
  record.completedAt !== null && state.now() >= record.completedAt + state.settings.urlLifetimeMs

/** The prediction as every call and webhook shows it. */
export function predictionBody(state: State, prediction: Prediction): Record<string, unknown> {
  const { record, model, pinned, webhook, events, deadlineAt } = prediction
  const removed = isRemoved(state, prediction)
  const api = `${state.url}/v1/predictions/${record.id}`
  return {
    id: record.id,
    model: model.id,
    version: pinned ? model.version : 'hidden',
    input: removed ? {} : record.input,
    logs: removed || record.startedAt === null ? '' : `Using seed: ${prediction.seed}\n`,
    output: record.status === 'succeeded' && !removed ? outputOf(state, prediction) : null,
    data_removed: removed,
    error: record.error,
    source: 'api',
    status: record.status,
    created_at: timeOf(record.createdAt),
    ...(record.startedAt === null ? {} : { started_at: timeOf(record.startedAt) }),
    ...(record.completedAt === null
      ? {}
      : { completed_at: timeOf(record.completedAt), metrics: metricsOf(prediction) }),
    ...(deadlineAt === null ? {} : { deadline: timeOf(deadlineAt) }),
    ...(webhook === null || !state.settings.showWebhook ? {} : { webhook, webhook_events_filter: events }),
    urls: {
      get: api,
      cancel: `${api}/cancel`,
      web: `https://replicate.com/p/${record.id}`,
    },
  }
}

const outputOf = (state: State, { files, model }: Prediction): string | string[] => {
  const urls = files.map((file) => fileUrl(state, file))
  return model.output === 'list' ? urls : (urls[0] ?? [])
}

function metricsOf({ record, model }: Prediction): Record<string, number> {
  const { createdAt, startedAt, completedAt, status, images } = record
  const end = completedAt ?? createdAt
  return {
    predict_time: startedAt === null ? 0 : (end - startedAt) / 1000,
    total_time: (end - createdAt) / 1000,
    ...(status === 'succeeded' && model.output === 'list' ? { image_output_count: images } : {}),
  }
}

/** A prediction of this token, or undefined. */
const find = (state: State, id: string, apiKey: string): Prediction | undefined => {
  const prediction = state.ledger.predictions.get(id)
  return prediction?.apiKey === apiKey ? prediction : undefined
}

type Answer = (status: number, body: unknown) => Promise<void>

/** `GET /predictions/{id}`. */
export async function get(state: State, exchange: Exchange, answer: Answer, id: string, apiKey: string): Promise<void> {
  state.ledger.totals.polls += 1
  const prediction = find(state, id, apiKey)
  if (!prediction) return answer(notFound.status, notFound.body)
  const { faults, record } = prediction
  record.polls += 1
  if (isPollCut(faults, record.polls)) return void exchange.request.socket.destroy()
  const failed = failsAtFirst(faults, 'poll_fail', record.polls)
  if (failed !== undefined) {
    const problem = problemOf(failed)
    return answer(problem.status, problem.body)
  }
  return answer(200, predictionBody(state, prediction))
}

/** `POST /predictions/{id}/cancel`: one that has ended stays as it is. */
export async function cancel(state: State, answer: Answer, id: string, apiKey: string): Promise<void> {
  const prediction = find(state, id, apiKey)
  if (!prediction) return answer(notFound.status, notFound.body)
  state.ledger.settle(prediction, 'canceled', state.now())
  return answer(200, predictionBody(state, prediction))
}

/** `GET /predictions`: newest first, by time, a page at a time; the cursor is opaque. */
export async function list(state: State, { url }: Exchange, answer: Answer, apiKey: string): Promise<void> {
  const { settings, ledger } = state
  ledger.totals.lists += 1
  if (settings.listFailures > 0) {
    settings.listFailures -= 1
    const problem = problemOf(500)
    return answer(problem.status, problem.body)
  }
  const after = Date.parse(url.searchParams.get('created_after') ?? '')
  const before = Date.parse(url.searchParams.get('created_before') ?? '')
  const cursor = Buffer.from(url.searchParams.get('cursor') ?? '', 'base64url').toString()
  const all = [...ledger.predictions.values()].reverse().filter(({ record, apiKey: owner }) => {
    const { createdAt } = record
    if (owner !== apiKey || createdAt > state.now() - settings.listLagMs) return false
    return !(createdAt < after) && !(createdAt >= before)
  })
  const start = cursor === '' ? 0 : all.findIndex(({ record }) => record.id === cursor) + 1
  const page = all.slice(start, start + settings.pageSize)
  const last = page.at(-1)
  const more = last !== undefined && start + page.length < all.length
  return answer(200, {
    next: more ? nextUrl(url, last.record.id) : null,
    previous: null,
    results: page.map((prediction) => predictionBody(state, prediction)),
  })
}

function nextUrl(url: URL, lastId: string): string {
  const next = new URL(url)
  next.searchParams.set('cursor', Buffer.from(lastId).toString('base64url'))
  return next.href
}

/** Answers a call other than a create, with the headers of the rate limit. */
export const answerWith =
  ({ response }: Exchange, headers: Record<string, string>): Answer =>
  async (status, body) =>
    void (await sendJson(response, status, body, headers))
