import { type IRequest, Router } from 'itty-router'
import * as v from 'valibot'
import { type Fault, type FaultCode, fault, NOT_HERE_MESSAGE } from '../contract/fault.ts'
import { InstanceId } from '../contract/ids.ts'
import type { Env } from '../env.ts'
import { LIMITS } from '../limits.ts'
import { parseMasterKeys } from '../storage/master-key.ts'
import { administrationRoutes } from './administration.ts'
import { artifactRoutes } from './artifact-routes.ts'
import { batchRoutes } from './batches.ts'
import { check } from './body.ts'
import { type Context, Refused, type Route } from './context.ts'
import { corsHeaders, preflightHeaders } from './cors.ts'
import { deadLetterRoutes } from './dead-letters.ts'
import { eventRoutes } from './events.ts'
import { gatewayRoutes } from './gateway.ts'
import { hookRoutes } from './hooks.ts'
import { instanceRoutes } from './instances.ts'
import { jobRoutes } from './jobs.ts'
import { moneyRoutes } from './money.ts'
import { openApi } from './openapi.ts'
import { priceRoutes } from './prices.ts'
import { registryRoutes } from './registry-routes.ts'
import { requestIdOf } from './request-id.ts'
import { json, problem } from './respond.ts'
import { sealingRoutes } from './sealing.ts'
import { noteBadKey, requireGoodManners } from './shield.ts'
import { textModelRoutes } from './text-models.ts'
import { usageRoutes } from './usage-routes.ts'
import { VERSION } from './version.ts'

/** HTTP in, HTTP out: finds the route, lets nothing unexpected out, and writes one line of log per request. */

const serviceRoutes: Route[] = [
  {
    method: 'GET',
    path: '/healthz',
    summary: 'Liveness, with the version',
    access: 'open',
    answers: { 200: v.object({ status: v.literal('ok'), version: v.string(), deployment: v.nullable(v.string()) }) },
    handle: async ({ env }) =>
      json({ status: 'ok', version: VERSION, deployment: env.CF_VERSION_METADATA?.id ?? null }),
  },
  {
    method: 'GET',
    path: '/openapi.json',
    summary: 'This contract',
    access: 'open',
    answers: { 200: v.any() },
    handle: async () => json(openApi(ROUTES), 200, { 'cache-control': 'public, max-age=300' }),
  },
]

/** The router looks at one after another: what is asked for most stands first. */
export const ROUTES: Route[] = [
  ...gatewayRoutes,
  ...jobRoutes,
  ...serviceRoutes,
  ...instanceRoutes,
  ...deadLetterRoutes,
  ...batchRoutes,
  ...eventRoutes,
  ...artifactRoutes,
  ...hookRoutes,
  ...administrationRoutes,
  ...moneyRoutes,
  ...sealingRoutes,
  ...registryRoutes,
  ...textModelRoutes,
  ...usageRoutes,
  ...priceRoutes,
]

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

/** A request as it came, beside the one that the router marks with its parameters. */
type Arrival = Omit<Context, 'params' | 'query'>
type Found = { response: Response; route: string; code: FaultCode | null }

const router = Router<IRequest, [Arrival], Found>()
for (const path of new Set(ROUTES.map((route) => route.path))) {
  for (const route of ROUTES.filter((item) => item.path === path)) {
    const verb = route.method.toLowerCase() as 'get' | 'post' | 'put' | 'patch' | 'delete'
    router[verb](path, ({ params }, arrival) => answer(route, params, arrival))
  }
  // Right behind the routes of a path: `dead-letters/replay` with another method is not the job of `dead-letters/:id`.
  router.all(path, (_request, arrival) => otherMethod(path, arrival))
}

export const handle = async (
  request: Request,
  env: Env,
  execution: Pick<ExecutionContext, 'waitUntil'>,
): Promise<Response> => {
  const startedAtMs = Date.now()
  const waitUntil = (work: Promise<unknown>) => execution.waitUntil(work)
  const arrival = { request, env, url: new URL(request.url), requestId: requestIdOf(request), startedAtMs, waitUntil }
  const found = await find(arrival)
  const response = finish(arrival, found)
  logRequest(arrival, found, response.status, Date.now() - startedAtMs)
  return response
}

const find = async (arrival: Arrival): Promise<Found> => {
  try {
    const { request, env } = arrival
    if (request.url.length > LIMITS.urlCharacters) {
      return refused('unmatched', fault('invalid_request', 'The URL is too long.', { param: 'url' }), arrival)
    }
    // The router takes a trailing slash for none, and `keys/%2e%2e` is normalised to one: it would name the instance itself.
    if (arrival.url.pathname.length > 1 && arrival.url.pathname.endsWith('/')) {
      return refused('unmatched', fault('not_found', 'There is nothing at this path.'), arrival)
    }
    const broken = misconfiguration(env)
    if (broken) return refused('unmatched', broken, arrival)
    // Only the router sees the stand-in, which it writes on: handlers are given what came.
    const routed = { method: request.method === 'HEAD' ? 'GET' : request.method, url: arrival.url.href }
    const found: Found | undefined = await router.fetch(routed, arrival)
    return found ?? refused('unmatched', fault('not_found', 'There is nothing at this path.'), arrival)
  } catch (error) {
    return unexpected('unmatched', error, arrival)
  }
}

const answer = async (route: Route, params: Record<string, string>, arrival: Arrival): Promise<Found> => {
  try {
    if (route.endless && arrival.request.method === 'HEAD') return otherMethod(route.path, arrival)
    if (params['instance'] !== undefined && !v.is(InstanceId, params['instance'])) {
      return refused(route.path, fault('not_found', NOT_HERE_MESSAGE), arrival)
    }
    const context: Context = { ...arrival, params, query: queryOf(route, arrival.url) }
    if (route.access !== 'open') requireGoodManners(context)
    return { response: await handled(route, context), route: route.path, code: null }
  } catch (error) {
    if (error instanceof Refused) return refused(route.path, error.fault, arrival, error.headers)
    return unexpected(route.path, error, arrival)
  }
}

/** A key that is good for nothing here is noted, so that a flood of them is turned away before it reaches an Instance. */
const handled = async (route: Route, context: Context): Promise<Response> => {
  try {
    return await route.handle(context)
  } catch (error) {
    const isBadKey =
      error instanceof Refused && (error.fault.code === 'unauthenticated' || error.fault.message === NOT_HERE_MESSAGE)
    if (isBadKey && route.access !== 'open') await noteBadKey(context)
    throw error
  }
}

/** Known parameters once each, checked; unknown ones are refused, so that a misspelt one is not silently ignored. */
const queryOf = (route: Route, url: URL): Context['query'] => {
  const given: Record<string, string> = {}
  for (const [name, value] of url.searchParams) {
    if (Object.hasOwn(given, name))
      throw new Refused(fault('invalid_request', 'A query parameter is given twice.', { param: 'query' }))
    given[name] = value
  }
  return check(v.strictObject(route.query ?? {}), given) as Context['query']
}

const otherMethod = (path: string, arrival: Arrival): Found => {
  const routes = ROUTES.filter((route) => route.path === path)
  const methods = routes.flatMap((route) =>
    route.method === 'GET' && !route.endless ? ['GET', 'HEAD'] : [route.method],
  )
  const allow = [...methods, 'OPTIONS'].join(', ')
  if (arrival.request.method === 'OPTIONS') {
    const isPreflight = arrival.request.headers.has('access-control-request-method')
    return {
      response: new Response(null, {
        status: 204,
        headers: { allow, ...(isPreflight ? preflightHeaders(allow) : {}) },
      }),
      route: path,
      code: null,
    }
  }
  return refused(path, fault('method_not_allowed', `Allowed here: ${allow}.`), arrival, { allow })
}

const refused = (
  route: string,
  problemFault: Fault,
  arrival: Arrival,
  headers: Record<string, string> = {},
): Found => ({
  response: problem(problemFault, arrival.requestId, headers),
  route,
  code: problemFault.code,
})

/** The one error boundary: what nobody expected is logged by kind and place, and the client learns nothing of it. */
const unexpected = (route: string, error: unknown, arrival: Arrival): Found => {
  const { name, stack } = error instanceof Error ? error : { name: typeof error, stack: '' }
  const isOverloaded = typeof error === 'object' && error !== null && 'overloaded' in error && error.overloaded === true
  const where = (stack ?? '').split('\n').slice(1, 6).join(' ').slice(0, 1000)
  console.error(
    JSON.stringify({ level: 'error', event: 'request.unexpected', request_id: arrival.requestId, route, name, where }),
  )
  if (isOverloaded)
    return refused(route, fault('unavailable', 'This instance is overloaded.', { retryAfterMs: 1000 }), arrival)
  return refused(route, fault('internal', 'Something went wrong on our side.'), arrival)
}

/** The master keys that were found well-formed, so that they are not parsed for every request. */
let goodKeys: string | null = null

const misconfiguration = (env: Env): Fault | null => {
  if (!env.ROOT_KEY || env.ROOT_KEY.length < 16)
    return notConfigured('ROOT_KEY is missing or shorter than 16 characters')
  if (env.MASTER_KEY === goodKeys) return null
  const keys = parseMasterKeys(env.MASTER_KEY)
  if (!keys.ok) return notConfigured(keys.message)
  goodKeys = env.MASTER_KEY
  return null
}

/** The operator reads why in the log; the client only that it is not its fault. */
const notConfigured = (why: string): Fault => {
  console.error(JSON.stringify({ level: 'error', event: 'configuration.broken', why }))
  return fault('unavailable', 'This service is not configured.', { retryAfterMs: LIMITS.backoffMaxMs })
}

/** Handlers make their responses, so the headers are theirs to change. */
const finish = (arrival: Arrival, { response }: Found): Response => {
  const { request, env, requestId } = arrival
  const { headers } = response
  headers.set('x-request-id', requestId)
  if (!headers.has('x-content-type-options')) headers.set('x-content-type-options', 'nosniff')
  for (const [name, value] of Object.entries(corsHeaders(request, env.CORS_ORIGINS))) headers.set(name, value)
  if (request.method !== 'HEAD') return response
  void response.body?.cancel()
  return new Response(null, { status: response.status, headers })
}

const logRequest = (arrival: Arrival, found: Found, status: number, ms: number): void => {
  const { request, requestId, url } = arrival
  const instance = /^\/v1\/instances\/([a-z][a-z0-9-]{0,62})(?:\/|$)/.exec(url.pathname)?.[1]
  const level = status >= 500 ? 'error' : 'info'
  const method = METHODS.includes(request.method) ? request.method : 'other'
  // The route, not the path or the query: those may hold what clients sent.
  console.log(
    JSON.stringify({
      level,
      event: 'request',
      request_id: requestId,
      method,
      route: found.route,
      instance,
      status,
      ms,
      code: found.code ?? undefined,
    }),
  )
}
