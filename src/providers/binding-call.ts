import { cloudflareStatus } from './cloudflare-faults.ts'
import { type LineOptions, type LineResult, receive } from './line-http.ts'

/** A call of Workers AI by the binding of this deployment, with the bounds of time and size that one over HTTP has. */

/** As much of the platform's `Ai` as is used here (https://developers.cloudflare.com/workers-ai/configuration/bindings/). */
export type AiBinding = {
  run(
    model: string,
    inputs: Record<string, unknown>,
    options: { returnRawResponse: true; signal: AbortSignal },
  ): Promise<Response>
}

export const sendByBinding = async (
  ai: AiBinding,
  { model, inputs }: { model: string; inputs: Record<string, unknown> },
  options: LineOptions,
): Promise<LineResult> => {
  if (options.signal.aborted) return { kind: 'aborted', message: 'The call was ended before it was sent.' }
  // There is no connection of ours that could fail before the request is out.
  return receive(
    (signal) => run(ai, model, inputs, signal),
    () => true,
    options,
  )
}

const run = async (
  ai: AiBinding,
  model: string,
  inputs: Record<string, unknown>,
  signal: AbortSignal,
): Promise<Response> => {
  const answer = ai.run(model, inputs, { returnRawResponse: true, signal })
  const late = () => void answer.then((response) => response.body?.cancel()).catch(() => {})
  try {
    return withRequestId(await Promise.race([answer, ended(signal)]))
  } catch (error) {
    const told = signal.aborted ? null : toldBy(error)
    if (told) return told
    late()
    throw error
  }
}

/** Never settles but by the signal: a binding need not heed it. */
const ended = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })

/**
 * `InferenceUpstreamError: 3040: …` as the answer that REST gives in its place, so that one table reads both. An error without
 * a number is null: nobody can say how far the call got. The text goes no further, for it may repeat the input.
 */
const toldBy = (error: unknown): Response | null => {
  const [, number] = /^(?:\w+: )?(\d{4,5}): /.exec(error instanceof Error ? error.message : '') ?? []
  if (number === undefined) return null
  const code = Number(number)
  return Response.json({ success: false, errors: [{ code, message: '' }] }, { status: cloudflareStatus(code) })
}

/** Under the name by which the decoders look for it. */
const withRequestId = (response: Response): Response => {
  const id = response.headers.get('cf-ai-req-id')
  if (id === null || response.headers.has('x-request-id')) return response
  const headers = new Headers(response.headers)
  headers.set('x-request-id', id)
  return new Response(response.body, { status: response.status, headers })
}
