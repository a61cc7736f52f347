import { fault } from '../contract/fault.ts'
import type { Caller } from '../contract/rpc.ts'
import type { Env } from '../env.ts'
import { equalConstantTime, randomBytes, sha256Hex, toBase64, toHex } from '../storage/digest.ts'
import { type Context, Refused } from './context.ts'

/** `sy_{public id}_{secret}`: 64 bits to find it, 256 bits to prove it. */
const KEY = /^sy_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/

/** Who calls. Digests only: the secret goes no further than this line. Throws `unauthenticated`. */
export const callerOf = async (context: Context): Promise<Caller> => {
  const token = bearer(context.request)
  const key = token === null ? null : KEY.exec(token)
  if (token !== null && key?.[1]) {
    return { requestId: context.requestId, auth: { kind: 'key', id: key[1], digest: await sha256Hex(token) } }
  }
  if (token !== null && (await isRoot(token, context.env)))
    return { requestId: context.requestId, auth: { kind: 'root' } }
  throw new Refused(
    fault(
      'unauthenticated',
      token === null ? 'Send an API key: Authorization: Bearer sy_….' : 'This is not an API key.',
    ),
  )
}

/** For what only the super admin may do. To others these routes do not exist. */
export const requireRoot = async (context: Context): Promise<void> => {
  const caller = await callerOf(context)
  if (caller.auth.kind !== 'root') throw new Refused(fault('not_found', 'There is nothing here for this key.'))
}

export const hasAuthorization = (request: Request): boolean => request.headers.has('authorization')

/** A new API key: shown once, kept as its digest. */
export const makeKey = async (): Promise<{ id: string; key: string; digest: string }> => {
  const id = toHex(randomBytes(8))
  const key = `sy_${id}_${base64Url(randomBytes(32))}`
  return { id, key, digest: await sha256Hex(key) }
}

export const makeTicket = async (): Promise<{ ticket: string; digest: string }> => {
  const ticket = base64Url(randomBytes(32))
  return { ticket, digest: await sha256Hex(ticket) }
}

export const isTicket = (text: string): boolean => /^[A-Za-z0-9_-]{43}$/.test(text)

const base64Url = (bytes: Uint8Array): string =>
  toBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')

const bearer = (request: Request): string | null => {
  const header = request.headers.get('authorization')
  const found = header === null ? null : /^Bearer +([\x21-\x7e]{1,512}) *$/i.exec(header)
  return found?.[1] ?? (header === null ? null : '')
}

/** Digests are compared, so neither length nor content shows in the time. */
const isRoot = async (token: string, env: Env): Promise<boolean> =>
  equalConstantTime(await sha256Hex(token), await sha256Hex(env.ROOT_KEY))
