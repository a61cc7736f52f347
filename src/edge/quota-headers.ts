import type { Quota } from '../contract/quota.ts'

/** `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10). */
export const quotaHeaders = (quotas: readonly Quota[]): Record<string, string> => ({
  'ratelimit-policy': quotas
    .map(({ name, limit, windowS }) => `"${name}";q=${limit}${windowS === null ? '' : `;w=${windowS}`}`)
    .join(', '),
  ratelimit: quotas
    .map(({ name, left, resetS }) => `"${name}";r=${left}${resetS === null ? '' : `;t=${resetS}`}`)
    .join(', '),
})
