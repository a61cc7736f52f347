import type { RateHints } from '../contract/rpc.ts'

/** What all calls of Gemini share: where they go, and what lets them in. */

/** Google's name in `extra_content`, by which its clients know it too. */
export const STATE_OF = 'google'

const VERSIONED = /\/v\d+(?:alpha|beta)?\d*$/

/**
 * `v1` unless the base address ends in another version, as in `https://generativelanguage.googleapis.com/v1beta`: that is
 * what Google's own client does (@google/genai 3.1), and every feature used here stands in `v1`
 * (https://ai.google.dev/gemini-api/docs/api-versions).
 */
export const geminiUrl = (baseUrl: string, model: string, method: string): string => {
  const base = baseUrl.replace(/\/+$/, '')
  return `${VERSIONED.test(base) ? base : `${base}/v1`}/models/${encodeURIComponent(model)}:${method}`
}

/** Without a secret where a gateway brings the key itself. */
export const geminiHeaders = (secret: string): Record<string, string> =>
  secret === '' ? {} : { 'x-goog-api-key': secret }

/** The number of its generation: 2.5 for `gemini-2.5-pro`. What has no number is of the newest. */
export const generationOf = (model: string): number => {
  const [, number] = /^gemini-(\d+(?:\.\d+)?)/.exec(model) ?? []
  return number === undefined ? Number.POSITIVE_INFINITY : Number(number)
}

/** It tells its limits in errors alone. */
export const NO_RATE: RateHints = { requests: null, tokens: null }
