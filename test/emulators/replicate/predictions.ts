import { randomBytes, randomInt } from 'node:crypto'
import { type Faults, numberOf, readFaultSetting } from '../ideogram/faults.ts'
import { type Exchange, sendBytes, sendJson } from '../ideogram/state.ts'
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
  order.faults = withChaos(state, order.faults)
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

function withChaos(state: State, faults: Faults): Faults {
  const { faultRate, faults: settings } = state.settings
  if (faultRate <= 0 || settings.length === 0 || state.chance() >= faultRate) return faults
  const drawn = settings[Math.floor(state.chance() * settings.length)] ?? ''
  // What the prompt asks for wins over what chance drew.
  return new Map([...readFaultSetting(drawn).faults, ...faults])
}

/** Whether a directive turned the request away before it was accepted. */
async function refuseByDirective(state: State, caller: Caller, { faults, input }: Order): Promise<boolean> {
  const firstSight = !faults.has('fail_once') || state.ledger.isFirstSight(input.prompt)
  const name = faults.has('fail') ? 'fail' : faults.has('fail_once') && firstSight ? 'fail_once' : undefined
  if (!name && !faults.has('cut_before')) return false
  await state.wait(numberOf(faults, 'slow', 0, 0))
  if (faults.has('cut_before')) {
    state.ledger.countRejected('cut')
    caller.exchange.request.socket.destroy()
    return true
  }
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
      responded: false,
      closedUnanswered: false,
      polls: 0,
      downloads: 0,
      webhooksDelivered: 0,
      webhooksFailed: 0,
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

/** Sends the answer to an accepted request, or spoils it as the directives say. */
async function answer(
  state: State,
  { exchange, headers }: Caller,
  { faults, record }: Prediction,
  status: number,
  body: unknown,
): Promise<void> {
  const { response, request } = exchange
  if (faults.has('stall')) {
    const stallMs = numberOf(faults, 'stall', 0, Number.POSITIVE_INFINITY)
    if (!Number.isFinite(stallMs)) return
    await state.wait(stallMs)
  }
  if (faults.has('cut_after')) return void request.socket.destroy()
  const json = { 'content-type': 'application/json', ...headers }
  if (faults.has('garbage')) {
    return void (await sendBytes(response, status, Buffer.from('<!doctype html><title>upstream</title>'), json))
  }
  if (faults.has('malformed')) return void (await sendJson(response, status, { id: 42, status: 'none' }, headers))
  if (faults.has('truncated')) {
    const text = Buffer.from(JSON.stringify(body))
    return void (await sendBytes(response, status, text.subarray(0, Math.floor(text.length / 2)), json))
  }
  record.responded = await sendJson(response, status, body, headers)
}
