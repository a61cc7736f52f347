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
      'Location, Retry-After, X-Request-Id, Preference-Applied, Idempotency-Replayed, RateLimit, RateLimit-Policy',
    ...(isOpen ? {} : { vary: 'Origin' }),
  }
}

export const preflightHeaders = (methods: string): Record<string, string> => ({
  'access-control-allow-methods': methods,
  'access-control-allow-headers': 'Authorization, Content-Type, Idempotency-Key, Prefer, X-Request-Id, Last-Event-ID',
  'access-control-max-age': '86400',
})
