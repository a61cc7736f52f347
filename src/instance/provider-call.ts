import type { Opening } from '../contract/foreground-rpc.ts'
import type { Assignment } from '../contract/rpc.ts'
import type { Books, ProviderSetup } from './books.ts'
import { type CredentialRow, sealOf } from './credential-store.ts'
import { isStandIn } from './stand-in.ts'

/** Where, how and with what a call of a provider is made: what an assignment and an opening have in common. */
export const providerCall = (
  books: Books,
  { id, baseUrl, route, timeoutMs }: ProviderSetup,
  credential: CredentialRow,
): Pick<Assignment & Opening, 'baseUrl' | 'route' | 'timeoutMs'> & Pick<Assignment, 'credential'> => {
  const identity = books.credentialName(id, credential.name)
  return {
    baseUrl,
    ...(route ? { route } : {}),
    timeoutMs,
    credential: isStandIn(credential) ? null : { identity, sealed: sealOf(credential), secret: credential.secret },
  }
}
