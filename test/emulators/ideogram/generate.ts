import { randomBytes, randomInt } from 'node:crypto'
import { acceptanceBody, answerBody, userIdOf } from './answers.ts'
import { type Faults, numberOf, readDirectives, readFaultSetting, refusal } from './faults.ts'
import type { Generation } from './ledger.ts'
import { numImages, priceOf, sizeOf } from './models.ts'
import { type GenerateInput, parseGenerate, readBody } from './requests.ts'
import type { Operation } from './spec.ts'
import { type Exchange, type State, sendBytes, sendJson } from './state.ts'
import { deliverWebhook, problemWithWebhookUrl } from './webhooks.ts'

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
  const body = await readBody(request)
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
  order.faults = withChaos(state, faults)
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

function withChaos(state: State, faults: Faults): Faults {
  const { faultRate, faults: settings } = state.settings
  if (faultRate <= 0 || settings.length === 0 || state.chance() >= faultRate) return faults
  const drawn = settings[Math.floor(state.chance() * settings.length)] ?? ''
  // What the prompt asks for wins over what chance drew.
  return new Map([...readFaultSetting(drawn).faults, ...faults])
}

/** Whether a directive turned the request away before it was accepted. */
async function refuseByDirective(state: State, { exchange, input, faults }: Order): Promise<boolean> {
  const firstSight = !faults.has('fail_once') || state.ledger.isFirstSight(String(input.fields.prompt))
  const name = faults.has('fail') ? 'fail' : faults.has('fail_once') && firstSight ? 'fail_once' : undefined
  if (!name && !faults.has('reject') && !faults.has('cut_before')) return false
  await state.wait(numberOf(faults, 'slow', 0, 0))
  if (faults.has('cut_before')) {
    state.ledger.countRejected('cut')
    exchange.request.socket.destroy()
    return true
  }
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
      responded: false,
      closedUnanswered: false,
      polls: 0,
      downloads: 0,
      webhooksDelivered: 0,
      webhooksFailed: 0,
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

/** Sends the answer to an accepted request, or spoils it as the directives say. */
async function answer(state: State, order: Order, generation: Generation, body: unknown): Promise<void> {
  const { response, request } = order.exchange
  const { faults } = order
  if (faults.has('stall')) {
    const stallMs = numberOf(faults, 'stall', 0, Number.POSITIVE_INFINITY)
    if (!Number.isFinite(stallMs)) return
    await state.wait(stallMs)
  }
  if (faults.has('cut_after')) return void request.socket.destroy()
  const json = { 'content-type': 'application/json' }
  if (faults.has('garbage')) {
    return void (await sendBytes(response, 200, Buffer.from('<!doctype html><title>upstream</title>'), json))
  }
  if (faults.has('malformed')) return void (await sendJson(response, 200, { generation_id: 42, data: 'none' }))
  if (faults.has('truncated')) {
    const text = Buffer.from(JSON.stringify(body))
    return void (await sendBytes(response, 200, text.subarray(0, Math.floor(text.length / 2)), json))
  }
  generation.record.responded = await sendJson(response, 200, body)
}

/** One webhook after all images are ready; none after a failure. */
async function notify(state: State, generation: Generation): Promise<void> {
  const { faults, record, webhookUrl } = generation
  if (webhookUrl === null || record.status !== 'completed' || faults.has('webhook_none')) return
  const { data } = answerBody(state, generation)
  const created = new Date(record.acceptedAt).toISOString()
  const body = JSON.stringify({ generation_id: record.id, created, data })
  for (let turn = 0; turn < (faults.has('webhook_twice') ? 2 : 1); turn += 1) {
    const delivered = await deliverWebhook(
      {
        url: webhookUrl,
        generationId: record.id,
        userId: userIdOf(generation.apiKey),
        timestampSeconds: Math.floor(state.now() / 1000),
        body,
        badSignature: faults.has('webhook_bad_signature'),
        signal: state.closing.signal,
      },
      state.keys.current(),
    )
    if (delivered) record.webhooksDelivered += 1
    else record.webhooksFailed += 1
  }
}
