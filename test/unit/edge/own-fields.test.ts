import { describe, expect, test } from 'vitest'
import { withOwnHeaders } from '../../../src/edge/own-fields.ts'
import { Refused } from '../../../src/edge/refused.ts'

const bodyWith = (headers: Record<string, string>, body: object = {}) => withOwnHeaders(new Headers(headers), body)

describe('Switchyard’s own fields', () => {
  test.each<[string, string, object]>([
    ['x-switchyard-models', 'openai/gpt-4o, vllm/any', { models: ['openai/gpt-4o', 'vllm/any'] }],
    ['x-switchyard-prefer', 'cost', { prefer: 'cost' }],
    ['x-switchyard-project', 'forge', { project: 'forge' }],
    ['x-switchyard-metadata', '{"user":"7"}', { metadata: { user: '7' } }],
    ['x-switchyard-max-cost-usd', '0.25', { max_cost_usd: 0.25 }],
    ['x-switchyard-fallback', 'false', { fallback: false }],
    ['x-switchyard-deadline-s', '30', { deadline_s: 30 }],
  ])('may stand in the header %s', (header, value, expected) => {
    expect(bodyWith({ [header]: value })).toEqual(expected)
  })

  test('in the body win over the headers, unless they are null there', () => {
    expect(bodyWith({ 'x-switchyard-project': 'a' }, { project: 'b' })).toEqual({ project: 'b' })
    expect(bodyWith({ 'x-switchyard-project': 'a' }, { project: null })).toEqual({ project: 'a' })
  })

  test.each([
    ['x-switchyard-models', 'gpt-4o'],
    ['x-switchyard-models', ''],
    ['x-switchyard-prefer', 'speedy'],
    ['x-switchyard-project', '../x'],
    ['x-switchyard-metadata', '{"a":1}'],
    ['x-switchyard-metadata', 'no json'],
    ['x-switchyard-metadata', '{"__proto__":"a"}'],
    ['x-switchyard-metadata', '{"constructor":"a"}'],
    ['x-switchyard-max-cost-usd', '-1'],
    ['x-switchyard-max-cost-usd', 'NaN'],
    ['x-switchyard-fallback', 'yes'],
    ['x-switchyard-deadline-s', '1e3'],
  ])('are refused by the name of their header: %s: %s', (header, value) => {
    try {
      bodyWith({ [header]: value })
    } catch (error) {
      expect(error).toBeInstanceOf(Refused)
      expect((error as Refused).fault).toMatchObject({ code: 'invalid_request', param: header })
      return
    }
    throw new Error('it was taken')
  })

  test('leave a body that is no object as it is', () => {
    expect(withOwnHeaders(new Headers({ 'x-switchyard-prefer': 'cost' }), [1])).toEqual([1])
  })
})
