/**
 * What a thrown network error says about the request: `unsent` where the connection was surely never made, `lost`
 * where the request may have arrived. When unsure: `lost`, since a request sent twice may be paid twice.
 *
 * Measured with POST and GET on workerd 1.20261102.1 (compatibility date 2026-11-01) and on Node 24.21:
 *
 * | what happened                          | workerd                                    | Node, `error.cause.code`     |
 * |----------------------------------------|--------------------------------------------|------------------------------|
 * | closed port, network unreachable       | "Network connection lost." remote retryable | ECONNREFUSED, EHOSTUNREACH   |
 * | accepted, then closed or reset unread  | "Network connection lost." remote retryable | UND_ERR_SOCKET, ECONNRESET   |
 * | closed or reset after the request      | "Network connection lost." remote retryable | UND_ERR_SOCKET, ECONNRESET   |
 * | closed in the response headers         | "Network connection lost." remote retryable | UND_ERR_SOCKET, ECONNRESET   |
 * | closed or reset in the body (`text()`) | "Network connection lost." retryable        | UND_ERR_SOCKET, ECONNRESET   |
 * | answer is not HTTP                     | "Network connection lost." remote retryable | none                         |
 * | name that does not resolve             | "internal error; reference = …" remote      | ENOTFOUND                    |
 * | TLS handshake or certificate fails     | "internal error; reference = …" remote      | ERR_SSL_…, DEPTH_ZERO_…      |
 * | `AbortSignal.timeout`                  | TimeoutError                               | TimeoutError                 |
 *
 * So workerd's messages never prove that nothing was sent (its `retryable` is set even where the request was read);
 * http.ts holds back the last byte of a body to know. On Cloudflare's network a refused or unresolvable origin does
 * not throw at all: it is answered with a status of 521, 523, 525, 526 or 530.
 */
export const classifyNetworkError = (error: unknown): 'unsent' | 'lost' =>
  codesOf(error).some(isUnsentCode) ? 'unsent' : 'lost'

/** Node's codes for a connection that was never made; ECONNRESET and ETIMEDOUT may come later and prove nothing. */
const UNSENT_CODES = [
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]

const isUnsentCode = (code: string): boolean => UNSENT_CODES.includes(code)

/** The codes of an error and its causes; four deep, as `fetch` nests two. */
const codesOf = (error: unknown): string[] => {
  const codes: string[] = []
  for (let at = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth += 1) {
    if ('code' in at && typeof at.code === 'string') codes.push(at.code)
  }
  return codes
}
