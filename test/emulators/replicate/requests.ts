import type { IncomingMessage } from 'node:http'
import { problemWithWebhookUrl } from '../base/jobs/webhooks.ts'
import { isJsonObject, parseJson, readBody } from '../base/wire.ts'
import { readDirectives } from '../ideogram/faults.ts'
import { type Model, resolveVersion } from './models.ts'
import { invalid, type Problem, problemOf, unknownVersion } from './problems.ts'
import { problemsWithInput, problemsWithRequest } from './spec.ts'
import type { State } from './state.ts'
import { defaultEvents } from './webhooks.ts'

/** A create that passed every check. */
export interface Order {
  model: Model
  pinned: boolean
  input: Record<string, unknown> & { prompt: string }
  /** The prompt without its directives. */
  text: string
  faults: ReturnType<typeof readDirectives>['faults']
  webhook: string | null
  events: readonly string[]
  /** `Prefer: wait`, or null. */
  waitMs: number | null
  /** `Cancel-After`, or null. */
  cancelAfterMs: number | null
}

const maxBodyBytes = 60_000_000

export type ReadOrder = { ok: true; order: Order } | { ok: false; problem: Problem }

const failed = (problem: Problem): ReadOrder => ({ ok: false, problem })
const wrong = (field: string, description: string): ReadOrder =>
  failed(invalid([{ type: 'invalid', field, description }]))

/** `named` is the model of the path; without one the body names a version. */
export async function readOrder(state: State, request: IncomingMessage, named: Model | undefined): Promise<ReadOrder> {
  const fields = parseJson(await readBody(request, maxBodyBytes))
  if (!isJsonObject(fields)) return failed(problemOf(400))
  const problems = problemsWithRequest(named ? 'model' : 'version', fields)
  if (problems.length > 0) return failed(invalid(problems))
  const chosen = named ? { model: named, pinned: false } : resolveVersion(String(fields.version))
  if (!chosen) return failed(unknownVersion)
  const input = fields.input as Order['input']
  const inputProblems = problemsWithInput(chosen.model.id, input)
  if (inputProblems.length > 0) return failed(invalid(inputProblems))
  const { faults, text, problem } = readDirectives(input.prompt)
  if (problem) return wrong('input.prompt', problem)
  const webhook = typeof fields.webhook === 'string' ? fields.webhook : null
  const webhookProblem = webhook !== null && problemWithWebhookUrl(webhook, state.settings.allowLoopbackWebhooks)
  if (webhookProblem) return wrong('webhook', 'must be an HTTPS URL of a public host')
  const events = (fields.webhook_events_filter as string[] | undefined) ?? defaultEvents
  const waitMs = preferredWaitMs(request.headers.prefer)
  if (waitMs === undefined) return wrong('Prefer', 'must be wait or wait=n of 1 to 60')
  const cancelAfterMs = durationMs(request.headers['cancel-after'])
  if (cancelAfterMs === undefined) return wrong('Cancel-After', 'must be a duration of 5 seconds at least')
  return { ok: true, order: { ...chosen, input, text, faults, webhook, events, waitMs, cancelAfterMs } }
}

/** null without the header, undefined where it is malformed. The reference's pattern lets two digits above 60 pass. */
function preferredWaitMs(header: string | string[] | undefined): number | null | undefined {
  if (header === undefined) return null
  const seconds = /^wait(?:=([1-9]|[1-9][0-9]))?$/.exec(String(header))
  return seconds ? Math.min(Number(seconds[1] ?? 60), 60) * 1000 : undefined
}

/** `90s`, `5m`, `1h30m45s` or plain seconds. */
function durationMs(header: string | string[] | undefined): number | null | undefined {
  if (header === undefined) return null
  const text = String(header)
  const parts = /^(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s?)?$/.exec(text)
  if (text === '' || !parts) return undefined
  const [hours = 0, minutes = 0, seconds = 0] = parts.slice(1).map((part) => Number(part ?? 0))
  const ms = ((hours * 60 + minutes) * 60 + seconds) * 1000
  return ms >= 5_000 ? ms : undefined
}
