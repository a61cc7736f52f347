import { gatewayFault, gatewayHeaders, isFromGatewayCache, type Passage } from './cloudflare-gateway.ts'
import type { Http } from './http.ts'
import type { Call, Failed, Outcome, Provider } from './provider.ts'

/**
 * A provider of pictures behind Cloudflare AI Gateway. Its adapter stays as it is: what it sends to the base URL gets the
 * gateway's headers, and an error of the gateway's own takes the place of what the adapter made of it. Pictures are never
 * asked of the cache: two jobs want two pictures, and an old answer would stand for a generation that is long gone.
 */
export const imagesViaGateway = (provider: Provider, token: string | null): Provider => {
  const passage = { provider: provider.id, token, cache: false }
  const ask = async <O extends Outcome | null>(
    call: Call,
    http: Http,
    act: (http: Http) => Promise<O>,
  ): Promise<O | Failed> => {
    const through = throughGateway(passage, call, http)
    return through.judge(await act(through.http))
  }
  const { reconcile, cancel } = provider
  return {
    ...provider,
    start: (call, http) => ask(call, http, (routed) => provider.start(call, routed)),
    poll: (call, checkpoint, http) => ask(call, http, (routed) => provider.poll(call, checkpoint, routed)),
    ...(cancel
      ? { cancel: (call, checkpoint, http) => cancel(call, checkpoint, throughGateway(passage, call, http).http) }
      : {}),
    ...(reconcile
      ? { reconcile: (call, http, sinceMs) => ask(call, http, (routed) => reconcile(call, routed, sinceMs)) }
      : {}),
  }
}

/**
 * The gateway gives one status for many things, and adapters go by statuses: each fault has one here that means the same at
 * every provider. So a poll is put off, and not given up, where the gateway had nothing to tell.
 */
const STATUS: Partial<Record<Failed['code'], number>> = {
  outcome_unknown: 520,
  provider_auth_failed: 401,
  provider_rate_limited: 429,
  provider_rejected: 400,
  content_rejected: 400,
}

/** The same HTTP, with the gateway's headers on what goes to the base URL; it remembers what the gateway itself said last. */
export const throughGateway = (passage: Passage, { baseUrl, nowMs }: Pick<Call, 'baseUrl' | 'nowMs'>, http: Http) => {
  const base = `${baseUrl.replace(/\/+$/, '')}/`
  let fault: Failed | null = null
  let cached = false
  const routed: Http = {
    send: async (request) => {
      if (!request.url.startsWith(base)) return http.send(request)
      const headers = { ...request.headers, ...gatewayHeaders(passage) }
      const result = await http.send({ ...request, headers })
      if (result.kind !== 'answered') return result
      fault = gatewayFault(result, passage.provider, nowMs)
      cached ||= isFromGatewayCache(result.headers)
      return fault ? { ...result, status: STATUS[fault.code] ?? result.status } : result
    },
  }
  const judge = <O extends Outcome | null>(outcome: O): O | Failed => {
    // Whatever it was told, it may come from a cache all the same.
    if (cached && outcome?.kind === 'done') return { ...outcome, costMicros: 0 }
    if (fault === null || outcome?.kind !== 'fault') return outcome
    // The adapter knows that this request bought nothing, and so may be repeated.
    if (fault.code === 'outcome_unknown' && outcome.code !== 'outcome_unknown') return outcome
    const { checkpoint } = outcome
    return checkpoint === undefined ? fault : { ...fault, checkpoint }
  }
  return { http: routed, judge }
}
