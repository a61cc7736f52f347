import { makeId } from '../contract/ids.ts'
import { LIMITS } from '../limits.ts'
import { randomBytes } from '../storage/digest.ts'

/** The client's own id where it is short and printable, a new one otherwise. */
export const requestIdOf = (request: Request): string => {
  const given = request.headers.get('x-request-id')
  const isGood =
    given !== null && given.length >= 1 && given.length <= LIMITS.requestIdCharacters && /^[\x21-\x7e]+$/.test(given)
  return isGood ? given : makeId('req', Date.now(), randomBytes(16))
}
