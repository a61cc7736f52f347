import { randomBytes, randomInt } from 'node:crypto'
import { numberOf } from '../base/directives.ts'
import { sendAnswer } from '../base/jobs/answer.ts'
import { withDrawn } from '../base/jobs/faults.ts'
import { nothingHanded } from '../base/jobs/ledger.ts'
import { failing, isCutBefore } from '../base/refusals.ts'
import { type Exchange, sendJson } from '../base/wire.ts'
import { readFaultSetting } from '../ideogram/faults.ts'
import { predictionBody } from './answers.ts'
import { dataUri } from './files.ts'
import type { Ledger, Prediction } from './ledger.ts'
import { type Model, sizeOf } from './models.ts'
import { inputFlagged, outputFlagged, predictionFailed, problemOf } from './problems.ts'
import { type Order, readOrder } from './requests.ts'
import type { State } from './state.ts'
import { notify } from './webhooks.ts'

const maxSeed = 2_147_483_647
/** Identifiers are 26 characters of base 32. */
const idAlphabet = 'abcdefghijklmnopqrstuvwxyz012345'

export interface Caller {
  exchange: Exchange
  apiKey: string
  /** Of the rate limit. */
  headers: Record<string, string>
}

/** Answers a create: check or refuse, accept, run, answer. `named` is the model of the path, if it names one. */
export async function create(state: State, caller: Caller, named: Model | undefined): Promise<void> {
  const { exchange } = caller
  const read = await readOrder(state, exchange.request, named)
  if (!read.ok) return refuse(state, caller, read.problem.status, read.problem.body)
  const { order } = read
  order.faults = withDrawn(state, order.faults, readFaultSetting)
  const { ledger } = state
  ledger.countFaults(order.faults)
  if (await refuseByDirective(state, caller, order)) return
  const prediction = accept(state, order, caller.apiKey)
  const early = predictionBody(state, prediction)
  exchange.response.once('close', () => {
    prediction.record.closedUnanswered = !exchange.response.writableFinished
  })
  const notified = run(state, ledger, prediction)
  if (order.faults.has('webhook_early')) await notified
  if (order.waitMs === null) return answer(state, caller, prediction, 201, early)
  await Promise.race([prediction.ended, state.wait(order.waitMs)])
  const ended = prediction.record.completedAt !== null
  caller.headers = { ...caller.headers, 'preference-applied': 'wait' }
  await answer(state, caller, prediction, ended ? 201 : 202, ended ? waitedBody(state, prediction) : early)
}

export async function refuse(state: State, caller: Caller, status: number, body: unknown, more = {}): Promise<void> {
  state.ledger.countRejected(status)
  await sendJson(caller.exchange.response, status, body, { ...caller.headers, ...more })
}

/** Whether a directive turned the request away before it was accepted. */
async function refuseByDirective(state: State, caller: Caller, { faults, input }: Order): Promise<boolean> {
  const name = failing(faults, () => state.ledger.sights.isFirst(input.prompt))
  if (!name && !faults.has('cut_before')) return false
  await state.wait(numberOf(faults, 'slow', 0, 0))
  if (isCutBefore(state, caller.exchange.response, faults)) return true
  const { status, body } = problemOf(numberOf(faults, name ?? 'fail', 0, 500))
  const retryAfter = faults.get('retry_after')?.[0]
  await refuse(state, caller, status, body, retryAfter === undefined ? {} : { 'retry-after': retryAfter })
  return true
}

/** From here on the prediction runs and is billed for what it makes, whatever becomes of the answer. */
function accept(state: State, order: Order, apiKey: string): Prediction {
  const { input, model } = order
  const id = Array.from(randomBytes(26), (byte) => idAlphabet[byte & 31]).join('')
  const createdAt = state.now()
  const images = typeof input.num_outputs === 'number' ? input.num_outputs : 1
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  const prediction: Prediction = {
    record: {
      id,
      model: model.id,
      prompt: input.prompt,
      input,
      images,
      createdAt,
      startedAt: null,
      completedAt: null,
      status: 'starting',
      error: null,
      costUsdMicros: 0,
      ...nothingHanded(),
    },
    model,
    pinned: order.pinned,
    apiKey,
    text: order.text,
    size: sizeOf(input),
    seed: typeof input.seed === 'number' ? input.seed : randomInt(maxSeed),
    webhook: order.webhook,
    events: order.events,
    faults: order.faults,
    files: [],
    deadlineAt: order.cancelAfterMs === null ? null : createdAt + order.cancelAfterMs,
    ended,
    end,
  }
  for (let index = 0; index < images; index += 1) {
    prediction.files.push({ id: randomBytes(32).toString('base64url'), index, prediction, downloads: 0 })
  }
  const { ledger } = state
  ledger.add(prediction)
  if (order.cancelAfterMs !== null) {
    state.later(order.cancelAfterMs, () => {
      const status = prediction.record.startedAt === null ? 'aborted' : 'canceled'
      ledger.settle(prediction, status, state.now())
    })
  }
  return prediction
}

/** Starting, processing, an end; each told to the webhook. Resolves when the last webhook is delivered. */
async function run(state: State, ledger: Ledger, prediction: Prediction): Promise<void> {
  const { faults, record, ended } = prediction
  const { bootMs, latencyMs, latencyJitterMs } = state.settings
  if (faults.has('reject')) ledger.settle(prediction, 'failed', state.now(), inputFlagged)
  await Promise.race([ended, state.wait(bootMs)])
  if (record.completedAt === null) {
    Object.assign(record, { status: 'processing', startedAt: state.now() })
    await notify(state, prediction, 'start')
    await notify(state, prediction, 'logs')
    const runMs = numberOf(faults, 'slow', 0, latencyMs + latencyJitterMs * Math.random())
    await Promise.race([ended, state.wait(runMs)])
    settle(state, ledger, prediction)
  }
  if (record.status === 'succeeded') await notify(state, prediction, 'output')
  await notify(state, prediction, 'completed')
}

function settle(state: State, ledger: Ledger, prediction: Prediction): void {
  const { faults } = prediction
  const reason = faults.has('unsafe') ? outputFlagged : faults.get('async_fail')?.join(':') || predictionFailed
  const fails = faults.has('unsafe') || faults.has('async_fail')
  ledger.settle(prediction, fails ? 'failed' : 'succeeded', state.now(), fails ? reason : null)
}

/**
 * What a held request ends with. As recorded in 2024: "processing", with the output there as data URIs, and without an
 * end or metrics; failures come as they are.
 */
function waitedBody(state: State, prediction: Prediction): Record<string, unknown> {
  const body = predictionBody(state, prediction)
  if (state.settings.waitAnswer === 'final' || prediction.record.status !== 'succeeded') return body
  const { completed_at: _end, metrics: _metrics, ...rest } = body
  const files = prediction.files.map((file) => dataUri(state, file))
  return { ...rest, status: 'processing', output: prediction.model.output === 'list' ? files : files[0] }
}

async function answer(
  state: State,
  { exchange, headers }: Caller,
  { faults, record }: Prediction,
  status: number,
  body: unknown,
): Promise<void> {
  const malformed = { id: 42, status: 'none' }
  record.responded = await sendAnswer(state, exchange, faults, { status, body, malformed, headers })
}
