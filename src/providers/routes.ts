import type { Route } from '../contract/route.ts'
import { gatewayBaseUrl } from './cloudflare-gateway.ts'

/** Which routes lead to which provider, and where they go. */

/** Why this route does not lead to the provider, or null where it does. */
export const refusesRoute = (route: Route, provider: string): string | null => {
  if (route.type === 'binding')
    return provider === 'workers-ai' ? null : 'only Workers AI is reached by a binding of this deployment.'
  return gatewayBaseUrl(route, provider) === null ? 'AI Gateway does not know this provider.' : null
}

/** The base of the provider's addresses by its route. By a binding nothing has an address, and this is only a name. */
export const routedBaseUrl = (route: Route | null, provider: string, straight: string): string =>
  (route?.type === 'ai_gateway' ? gatewayBaseUrl(route, provider) : null) ?? straight
