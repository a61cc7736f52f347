import type { AiBinding } from '../../../src/providers/binding-call.ts'

/**
 * The binding of Workers AI in memory, in the forms of its wire: a model's own and that of newer ones, whole and as events, and
 * its errors as answers and as throws (workerd's src/cloudflare/internal/ai-api.ts).
 */

export type Run = { model: string; inputs: Record<string, unknown>; signal: AbortSignal }

export type FakeAi = AiBinding & {
  runs: Run[]
  /** Answers given instead of the usual ones, first in first out. */
  next: ((run: Run) => Response | Promise<Response>)[]
}

export const USED = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 }

export const native = (response: unknown, more: object = {}): Response =>
  Response.json({ response, usage: USED, ...more }, { headers: { 'cf-ai-req-id': 'ai-req-1' } })

export const events = (parts: (object | string)[]): Response =>
  new Response(parts.map((part) => `data: ${typeof part === 'string' ? part : JSON.stringify(part)}\n\n`).join(''), {
    headers: { 'content-type': 'text/event-stream', 'cf-ai-req-id': 'ai-req-1' },
  })

export const nativeEvents = (): Response =>
  events([{ response: 'Hel', p: 'abc' }, { response: 'lo' }, { response: '', usage: USED }, '[DONE]'])

/** As the platform throws it. */
export const upstreamError = (message: string): Error =>
  Object.assign(new Error(message), { name: 'InferenceUpstreamError' })

export const throwing = (error: unknown) => (): never => {
  throw error
}

/** Says nothing until it is ended, and not even then. */
export const deaf = (): Promise<Response> => new Promise(() => {})

export const fakeAi = (): FakeAi => {
  const runs: Run[] = []
  const next: FakeAi['next'] = []
  return {
    runs,
    next,
    run: async (model, inputs, { signal }) => {
      const run = { model, inputs: JSON.parse(JSON.stringify(inputs)), signal }
      runs.push(run)
      const reply = next.shift()
      if (reply) return reply(run)
      const { text } = run.inputs
      if (Array.isArray(text)) return Response.json({ shape: [text.length, 2], data: text.map((_, at) => [0.5, at]) })
      return run.inputs['stream'] === true ? nativeEvents() : native('Hello')
    },
  }
}
