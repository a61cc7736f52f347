import { describe, expect, expectTypeOf, test } from 'vitest'
import {
  ATTEMPT_FAULT_CODES,
  type ErrorBody,
  errorBody,
  FAULT_CODES,
  FAULT_STATUS,
  type FaultCode,
  fault,
  faultType,
  ok,
  type Result,
  refuse,
} from '../../../src/contract/fault.ts'

/** The contract's page, written out once more: a code never changes its status or its type by accident. */
const CONTRACT: Record<FaultCode, [status: number, type: string]> = {
  provider_rate_limited: [502, 'job_error'],
  provider_quota_exhausted: [502, 'job_error'],
  provider_auth_failed: [502, 'job_error'],
  provider_unavailable: [502, 'job_error'],
  provider_timeout: [502, 'job_error'],
  outcome_unknown: [502, 'job_error'],
  provider_protocol_error: [502, 'job_error'],
  provider_rejected: [502, 'job_error'],
  content_rejected: [502, 'job_error'],
  artifact_failed: [502, 'job_error'],
  deadline_exceeded: [504, 'job_error'],
  canceled: [409, 'job_error'],
  budget_exceeded: [402, 'insufficient_quota'],
  no_provider: [400, 'invalid_request_error'],
  invalid_request: [400, 'invalid_request_error'],
  unauthenticated: [401, 'authentication_error'],
  permission_denied: [403, 'permission_error'],
  not_found: [404, 'invalid_request_error'],
  method_not_allowed: [405, 'invalid_request_error'],
  conflict: [409, 'invalid_request_error'],
  idempotency_in_flight: [409, 'invalid_request_error'],
  payload_too_large: [413, 'invalid_request_error'],
  unsupported_media_type: [415, 'invalid_request_error'],
  idempotency_mismatch: [422, 'invalid_request_error'],
  rate_limited: [429, 'rate_limit_error'],
  queue_full: [429, 'rate_limit_error'],
  internal: [500, 'server_error'],
  unavailable: [503, 'server_error'],
}

describe('fault codes', () => {
  test('are exactly those of the contract', () => {
    expect([...FAULT_CODES].sort()).toEqual(Object.keys(CONTRACT).sort())
    for (const code of ATTEMPT_FAULT_CODES) expect(FAULT_CODES).toContain(code)
  })

  test.each(FAULT_CODES)('%s has the status and the type of the contract', (code) => {
    expect([FAULT_STATUS[code], faultType(code)]).toEqual(CONTRACT[code])
  })
})

describe('a fault', () => {
  test('is ours unless it says otherwise', () => {
    expect(fault('not_found', 'There is no such job.')).toEqual({
      code: 'not_found',
      message: 'There is no such job.',
      source: 'switchyard',
    })
    expect(fault('provider_rejected', 'No.', { source: 'provider', param: 'input.prompt' })).toEqual({
      code: 'provider_rejected',
      message: 'No.',
      source: 'provider',
      param: 'input.prompt',
    })
  })

  test('crosses RPC and JSON unchanged', () => {
    const { fault: problem } = refuse('rate_limited', 'Slow down.', {
      retryAfterMs: 5,
      details: { limit: 'x', left: 0 },
    })
    expect(structuredClone(problem)).toEqual(problem)
    expect(JSON.parse(JSON.stringify(problem))).toEqual(problem)
  })

  test('and a value are told apart by `ok` alone', () => {
    const results: Result<number>[] = [ok(1), refuse('conflict', 'Taken.')]
    expect(results.map((result) => (result.ok ? result.value : result.fault.code))).toEqual([1, 'conflict'])
    expectTypeOf<Extract<Result<number>, { ok: true }>>().toEqualTypeOf<{ ok: true; value: number }>()
  })
})

describe('the body of an error', () => {
  test('has every field of the contract, and null where no field is at fault', () => {
    expect(errorBody(fault('not_found', 'There is no such job.'), 'req-1')).toEqual({
      error: {
        type: 'invalid_request_error',
        code: 'not_found',
        message: 'There is no such job.',
        param: null,
        source: 'switchyard',
        request_id: 'req-1',
      },
    })
  })

  test('names the field, the party and the details where there are any', () => {
    const problem = fault('provider_rejected', 'No.', {
      source: 'provider',
      param: 'input.prompt',
      details: { status: 422 },
    })
    expect(errorBody(problem, 'req-2').error).toMatchObject({
      param: 'input.prompt',
      source: 'provider',
      details: { status: 422 },
    })
  })

  test('shows nothing that the contract does not name: the wait is a header', () => {
    const { error } = errorBody(fault('queue_full', 'Full.', { retryAfterMs: 1_000 }), 'req-3')
    expect(Object.keys(error).sort()).toEqual(['code', 'message', 'param', 'request_id', 'source', 'type'])
    expectTypeOf<ErrorBody['error']['code']>().toEqualTypeOf<FaultCode>()
  })
})
