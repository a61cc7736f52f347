import { randomBytes, randomInt } from 'node:crypto'
import { numberOf } from '../base/directives.ts'
import { sendAnswer } from '../base/jobs/answer.ts'
import { withDrawn } from '../base/jobs/faults.ts'
import { nothingHanded } from '../base/jobs/ledger.ts'
import { deliver, problemWithWebhookUrl } from '../base/jobs/webhooks.ts'
import { failing, isCutBefore } from '../base/refusals.ts'
import { type Exchange, readBody, sendJson } from '../base/wire.ts'
import { acceptanceBody, answerBody, userIdOf } from './answers.ts'
import { type Faults, readDirectives, readFaultSetting, refusal } from './faults.ts'
import type { Generation } from './ledger.ts'
import { numImages, priceOf, sizeOf } from './models.ts'
import { type GenerateInput, maxBodyBytes, parseGenerate } from './requests.ts'
import type { Operation } from './spec.ts'
import type { State } from './state.ts'
import { deliverWebhook } from './webhooks.ts'

const maxSeed = 2_147_483_647

/** A request that passed the checks, on its way to be accepted. */
interface Order {
  exchange: Exchange
  operation: Operation
  apiKey: string
  input: GenerateInput
  faults: Faults
  /** The prompt without directives. */
  text: string
}

/** Answers a generate request: check, quote or refuse, accept, generate, answer. */
export async function generate(state: State, exchange: Exchange, operation: Operation, apiKey: string): Promise<void> {
  const { request, response, url } = exchange
  const body = await readBody(request, maxBodyBytes)
  if (!body) {
    state.ledger.countRejected(413)
    await sendJson(response, 413, { error: 'Request body is too large.' }, { connection: 'close' })
    return void request.destroy()
  }
  const parsed = await parseGenerate(operation, request.headers['content-type'] ?? '', body)
  if (!parsed.ok) return refuse(state, exchange, 400, { error: parsed.problem })
  const { fields } = parsed.input
  const webhookUrl = fields.webhook_url
  const webhookProblem =
    typeof webhookUrl === 'string' && problemWithWebhookUrl(webhookUrl, state.settings.allowLoopbackWebhooks)
  if (webhookProblem) return refuse(state, exchange, 400, { error: webhookProblem })
  const { faults, text, problem } = readDirectives(String(fields.prompt))
  if (problem) return refuse(state, exchange, 400, { error: problem })
  const order = { exchange, operation, apiKey, input: parsed.input, faults, text }
  if (operation.api === 'v2' && url.searchParams.get('dry_run') === 'true') return quote(state, order)
  order.faults = withDrawn(state, faults, readFaultSetting)
  state.ledger.countFaults(order.faults)
  if (await refuseByDirective(state, order)) return
  const leave = state.ledger.enter(apiKey, state.settings.maxInflight)
  if (!leave) {
    const { status, body: why } = refusal(429, 'inflight_limit', state.settings.maxInflight)
    return refuse(state, exchange, status, why)
  }
  const generation = accept(state, order)
  response.once('close', () => {
    generation.record.closedUnanswered = !response.writableFinished
  })
  const finished = run(state, generation).finally(leave)
  if (generation.record.async) await answerAsync(state, order, generation, finished)
  else {
    await finished
    await answer(state, order, generation, answerBody(state, generation))
  }
}

async function refuse(state: State, exchange: Exchange, status: number, body: unknown, retryAfter = ''): Promise<void> {
  state.ledger.countRejected(status)
  await sendJson(exchange.response, status, body, retryAfter === '' ? {} : { 'retry-after': retryAfter })
}

/** Prices without generating. Only `quote_fail` acts here: the other directives belong to the generation itself. */
async function quote(state: State, { exchange, operation, input, faults }: Order): Promise<void> {
  if (faults.has('quote_fail')) {
    const why = refusal(numberOf(faults, 'quote_fail', 0, 500), faults.get('quote_fail')?.[1], 0)
    return refuse(state, exchange, why.status, why.body)
  }
  const price = priceOf(operation, input, 0)
  state.ledger.totals.quotes += 1
  await sendJson(exchange.response, 200, {
    object: 'price_quote',
    billing_identifier: price.billingIdentifier,
    quantity: numImages(input.fields),
    usd_micros: price.quotedUsdMicros,
    credit_millis: price.quotedUsdMicros / 10,
    qualifier: price.upperBoundUsdMicros === null ? 'exact' : 'estimate',
    upper_bound_usd_micros: price.upperBoundUsdMicros,
  })
}

/** Whether a directive turned the request away before it was accepted. */
async function refuseByDirective(state: State, { exchange, input, faults }: Order): Promise<boolean> {
  const name = failing(faults, () => state.ledger.sights.isFirst(String(input.fields.prompt)))
  if (!name && !faults.has('reject') && !faults.has('cut_before')) return false
  await state.wait(numberOf(faults, 'slow', 0, 0))
  if (isCutBefore(state, exchange.response, faults)) return true
  const status = name ? numberOf(faults, name, 0, 500) : 422
  const why = refusal(status, name && faults.get(name)?.[1], state.settings.maxInflight)
  await refuse(state, exchange, why.status, why.body, faults.get('retry_after')?.[0])
  return true
}

/** From here on the generation is billed, whatever becomes of the answer. */
function accept(state: State, { operation, apiKey, input, faults, text }: Order): Generation {
  const { fields } = input
  const seed = typeof fields.seed === 'number' ? fields.seed : randomInt(maxSeed)
  const generation: Generation = {
    record: {
      id: randomBytes(16).toString('base64url'),
      api: operation.api,
      model: operation.model,
      prompt: String(fields.prompt),
      seed,
      images: numImages(fields),
      async: fields.async === true,
      acceptedAt: state.now(),
      completedAt: null,
      status: 'pending',
      costUsdMicros: priceOf(operation, input, seed).chargedUsdMicros,
      ...nothingHanded(),
    },
    apiKey,
    text,
    size: sizeOf(input),
    transparent: operation.model.endsWith('-transparent'),
    styleType: operation.api === 'v1' ? String(fields.style_type ?? 'GENERAL') : null,
    webhookUrl: typeof fields.webhook_url === 'string' ? fields.webhook_url : null,
    faults,
    images: [],
    failureReason: null,
    urlsExpireAt: 0,
  }
  for (let index = 0; index < generation.record.images; index += 1) {
    const imageSeed = (seed + index) % (maxSeed + 1)
    generation.images.push({ id: randomBytes(16).toString('base64url'), seed: imageSeed, generation, downloads: 0 })
  }
  state.ledger.accept(generation)
  return generation
}

async function run(state: State, generation: Generation): Promise<void> {
  const { faults } = generation
  const { latencyMs, latencyJitterMs, urlLifetimeMs } = state.settings
  const ledger = state.ledger
  await state.wait(numberOf(faults, 'slow', 0, latencyMs + latencyJitterMs * Math.random()))
  if (generation.record.async && faults.has('async_fail')) {
    generation.failureReason = faults.get('async_fail')?.join(':') || 'generation_failed'
  }
  const expiresAt = faults.has('expired') ? state.now() - 60_000 : state.now() + urlLifetimeMs
  generation.urlsExpireAt = Math.floor(expiresAt / 1000)
  ledger.settle(generation, state.now())
}

async function answerAsync(state: State, order: Order, generation: Generation, finished: Promise<void>): Promise<void> {
  const notified = finished.then(() => notify(state, generation))
  if (order.faults.has('webhook_early')) await notified
  await answer(state, order, generation, acceptanceBody(generation))
  await notified
}

async function answer(state: State, order: Order, generation: Generation, body: unknown): Promise<void> {
  const malformed = { generation_id: 42, data: 'none' }
  const { exchange, faults } = order
  generation.record.responded = await sendAnswer(state, exchange, faults, { status: 200, body, malformed })
}

/** One webhook after all images are ready; none after a failure. */
async function notify(state: State, generation: Generation): Promise<void> {
  const { faults, record, webhookUrl } = generation
  if (webhookUrl === null || record.status !== 'completed' || faults.has('webhook_none')) return
  const { data } = answerBody(state, generation)
  const created = new Date(record.acceptedAt).toISOString()
  const body = JSON.stringify({ generation_id: record.id, created, data })
  await deliver(faults, record, () =>
    deliverWebhook(
      {
        url: webhookUrl,
        generationId: record.id,
        userId: userIdOf(generation.apiKey),
        timestampSeconds: Math.floor(state.now() / 1000),
        body,
        badSignature: faults.has('webhook_bad_signature'),
        signal: state.closing,
      },
      state.keys.current(),
    ),
  )
}
