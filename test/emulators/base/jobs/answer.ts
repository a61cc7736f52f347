import { type Given, numberOf } from '../directives.ts'
import { type Exchange, sendBytes, sendJson } from '../wire.ts'

interface Answer {
  status: number
  body: unknown
  /** JSON that is no answer of the provider's. */
  malformed: unknown
  headers?: Record<string, string>
}

/** Answers the request that started a job, spoilt where directives say so. Resolves true where all of it went out. */
export async function sendAnswer(
  state: { wait(durationMs: number): Promise<void> },
  { request, response }: Exchange,
  faults: Given<'stall' | 'cut_after' | 'garbage' | 'malformed' | 'truncated'>,
  { status, body, malformed, headers = {} }: Answer,
): Promise<boolean> {
  if (faults.has('stall')) {
    const stallMs = numberOf(faults, 'stall', 0, Number.POSITIVE_INFINITY)
    if (!Number.isFinite(stallMs)) return false
    await state.wait(stallMs)
  }
  if (faults.has('cut_after')) {
    request.socket.destroy()
    return false
  }
  const spoilt = faults.has('garbage')
    ? '<!doctype html><title>upstream</title>'
    : faults.has('malformed')
      ? JSON.stringify(malformed)
      : faults.has('truncated')
        ? halfOf(Buffer.from(JSON.stringify(body)))
        : null
  if (spoilt === null) return sendJson(response, status, body, headers)
  await sendBytes(response, status, Buffer.from(spoilt), { 'content-type': 'application/json', ...headers })
  return false
}

export const halfOf = (bytes: Buffer): Buffer => bytes.subarray(0, Math.floor(bytes.length / 2))
