import { OWN_HEADERS } from './own-fields.ts'

/** Which web pages may call: by configuration, none by default. Keys travel in a header, so no cookies are allowed. */
export const corsHeaders = (request: Request, allowed: string): Record<string, string> => {
  const origin = request.headers.get('origin')
  if (!origin || !allowed) return {}
  const origins = allowed.split(',').map((item) => item.trim())
  const isOpen = origins.includes('*')
  if (!isOpen && !origins.includes(origin)) return { vary: 'Origin' }
  return {
    'access-control-allow-origin': isOpen ? '*' : origin,
    'access-control-expose-headers':
      'Location, Retry-After, X-Request-Id, Preference-Applied, Idempotency-Replayed, RateLimit, RateLimit-Policy, ' +
      'X-Switchyard-Model, X-Switchyard-Attempts, X-Switchyard-Cost-Usd, X-Switchyard-Overhead-Ms, ' +
      'X-Switchyard-Dropped, X-Switchyard-Job, X-Should-Retry',
    ...(isOpen ? {} : { vary: 'Origin' }),
  }
}

/** Official clients of OpenAI say of themselves what they are; without these a page could not use them. */
const STAINLESS = ['Lang', 'Package-Version', 'OS', 'Arch', 'Runtime', 'Runtime-Version', 'Retry-Count', 'Timeout']

const ALLOWED = [
  ...['Authorization', 'Content-Type', 'Idempotency-Key', 'Prefer', 'X-Request-Id', 'Last-Event-ID'],
  ...OWN_HEADERS,
  ...STAINLESS.map((name) => `X-Stainless-${name}`),
]

export const preflightHeaders = (methods: string): Record<string, string> => ({
  'access-control-allow-methods': methods,
  'access-control-allow-headers': ALLOWED.join(', '),
  'access-control-max-age': '86400',
})
