import { expect } from 'vitest'

/** The one shape of an error, whatever it is about. */
export const expectProblem = (
  answer: { status: number; headers: Headers; body: unknown },
  status: number,
  code: string,
) => {
  expect(answer.status).toBe(status)
  expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8')
  expect(answer.body).toEqual({
    error: {
      type: expect.any(String),
      code,
      message: expect.stringMatching(/^[A-Z][^\n]*\.$|^\w[^\n]*\.$/),
      param: answer.body && (answer.body as { error: { param: string | null } }).error.param,
      source: 'switchyard',
      request_id: answer.headers.get('x-request-id'),
    },
  })
}
