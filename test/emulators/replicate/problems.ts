import type { InvalidField } from './spec.ts'

/** The provider's error bodies: problem JSON, with texts as public bug reports quote them. */

export interface Problem {
  status: number
  body: Record<string, unknown>
}

/** One of the statuses a directive may name. */
export function problemOf(status: number, resetSeconds = 1): Problem {
  const [title, detail] = texts[status] ?? ['Error', 'Something went wrong.']
  if (status === 429) {
    const throttled = `Request was throttled. Your rate limit resets in ~${resetSeconds}s.`
    return { status, body: { detail: throttled, status, retry_after: resetSeconds } }
  }
  return { status, body: { title, detail, status } }
}

export const noToken: Problem = {
  status: 401,
  body: { title: 'Unauthenticated', detail: 'You did not pass an authentication token', status: 401 },
}

export const notFound: Problem = {
  status: 404,
  body: { detail: 'The requested resource could not be found.', status: 404 },
}

export const unknownVersion: Problem = {
  status: 422,
  body: {
    title: 'Invalid version or not permitted',
    detail: "The specified version does not exist (or perhaps you don't have permission to use it?)",
    status: 422,
  },
}

export function invalid(fields: InvalidField[]): Problem {
  const detail = fields.map(({ field, description }) => `- ${field}: ${description}\n`).join('')
  return { status: 422, body: { title: 'Input validation failed', detail, status: 422, invalid_fields: fields } }
}

const credit =
  'You have insufficient credit to run this model. Go to https://replicate.com/account/billing#billing to purchase ' +
  'credit. Once you purchase credit, please wait a few minutes before trying again.'

const texts: Record<number, [title: string, detail: string]> = {
  400: ['Bad Request', 'The request could not be understood.'],
  401: ['Unauthenticated', 'You did not pass a valid authentication token'],
  402: ['Insufficient credit', credit],
  403: ['Forbidden', 'You do not have permission to perform this action.'],
  422: ['Input validation failed', '- input: is invalid\n'],
  500: ['Internal Server Error', 'Internal server error'],
  503: ['Service Unavailable', 'Service temporarily unavailable, try again later.'],
}

/** How a prediction fails. E005 is the code of official models; the second text is that of the open image models. */
export const inputFlagged =
  'The input or output was flagged as sensitive. Please try again with different inputs. (E005)'
export const outputFlagged = 'NSFW content detected. Try running it again, or try a different prompt.'
export const predictionFailed = 'Prediction failed for an unknown reason. It might have run out of memory? (E1001)'
