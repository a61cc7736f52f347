import { ok, type Result, refuse } from '../contract/fault.ts'
import type { ProviderRequest } from '../contract/instance.ts'
import type { Route } from '../contract/route.ts'
import { refusesAddress } from '../providers/address.ts'
import { refusesRoute } from '../providers/routes.ts'
import type { ProviderRow } from './admin-store.ts'

/** What a request may do depends on where it is made, and by whom. */
export type Deployment = {
  /** Whether base URLs and gateways may be http and private. */
  allowPrivate: boolean
  /** Whether there is a binding of Workers AI. */
  hasAi: boolean
  isRoot: boolean
}

type Reach = Pick<ProviderRow, 'base_url' | 'route'>

/** How a provider is reached once the request is applied, or why it cannot be reached so. What is not named stays. */
export const reachOf = (
  id: string,
  request: ProviderRequest,
  existing: Reach | undefined,
  where: Deployment,
): Result<Reach> => {
  const base_url = request.base_url === undefined ? (existing?.base_url ?? null) : request.base_url
  const route = request.route === undefined ? (existing?.route ?? null) : request.route
  const unsafe = request.base_url ? refusesAddress(request.base_url, where.allowPrivate) : null
  if (unsafe) return refuse('invalid_request', `base_url is refused: it ${unsafe}.`, { param: 'base_url' })
  if (base_url !== null && route !== null) {
    const [param, other] = request.route ? ['route', 'base_url'] : ['base_url', 'route']
    return refuse('invalid_request', `${param} takes the place of ${other}: set ${other} to null with it.`, { param })
  }
  const refused = request.route ? routeRefused(id, request.route, existing, where) : null
  return refused ?? ok({ base_url, route })
}

const routeRefused = (id: string, route: Route, existing: Reach | undefined, where: Deployment) => {
  const astray = refusesRoute(route, id)
  if (astray) return refuse('invalid_request', `route is refused: ${astray}`, { param: 'route' })
  if (route.type === 'ai_gateway') {
    const unsafe = route.origin === undefined ? null : refusesAddress(route.origin, where.allowPrivate)
    return unsafe
      ? refuse('invalid_request', `route.origin is refused: it ${unsafe}.`, { param: 'route.origin' })
      : null
  }
  if (!where.hasAi)
    return refuse('invalid_request', 'route is refused: this deployment has no binding of Workers AI.', {
      param: 'route',
    })
  // It spends the money of whoever runs this deployment, and not of the instance's own account.
  if (!where.isRoot && existing?.route?.type !== 'binding')
    return refuse('permission_denied', 'Only ROOT_KEY may let an instance use the binding.', { param: 'route' })
  return null
}
