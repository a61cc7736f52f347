import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Json } from '../../../src/contract/fields.ts'
import { canonicalJson } from '../../../src/core/canonical.ts'

const anyJson = fc.jsonValue() as fc.Arbitrary<Json>

/** The same value with the fields of every object written in the opposite order. */
const reordered = (value: Json): Json => {
  if (Array.isArray(value)) return value.map(reordered)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, member]) => [key, reordered(member)]),
  )
}

describe('canonical JSON', () => {
  test.each<[name: string, value: Json | undefined, text: string]>([
    ['sorts the keys of every object', { b: 1, a: { d: 2, c: 3 } }, '{"a":{"c":3,"d":2},"b":1}'],
    ['keeps the order of a list', [3, 1, 2], '[3,1,2]'],
    ['keeps null apart from absent', { a: null }, '{"a":null}'],
    ['escapes as JSON does', { 'a"\n': '\u0000' }, '{"a\\"\\n":"\\u0000"}'],
    ['says null for nothing', undefined, 'null'],
    ['writes an empty object and an empty list apart', [{}, []], '[{},[]]'],
  ])('%s', (_name, value, text) => expect(canonicalJson(value)).toBe(text))

  test('leaves out a field that is undefined, as JSON does', () => {
    const value = { b: undefined, a: 1 } as unknown as Json
    expect(canonicalJson(value)).toBe('{"a":1}')
  })

  test('does not depend on the order in which fields were written', () => {
    fc.assert(fc.property(anyJson, (value) => void expect(canonicalJson(reordered(value))).toBe(canonicalJson(value))))
  })

  test('reads back as the value it was made of', () => {
    // JSON knows no negative zero.
    fc.assert(
      fc.property(
        anyJson,
        (value) => void expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value))),
      ),
    )
  })

  test('gives different values different texts', () => {
    fc.assert(
      fc.property(anyJson, anyJson, (one, other) => {
        const plain = (value: Json): Json => JSON.parse(JSON.stringify(reordered(value))) as Json
        let isSame = true
        try {
          expect(plain(one)).toEqual(plain(other))
        } catch {
          isSame = false
        }
        expect(canonicalJson(one) === canonicalJson(other)).toBe(isSame)
      }),
    )
  })

  test.each<[name: string, one: Json, other: Json]>([
    ['a number and its text', { a: 1 }, { a: '1' }],
    ['false and null', { a: false }, { a: null }],
    ['a list and an object with its indexes', [1], { 0: 1 }],
    ['fields that moved to another object', { a: { b: 1 } }, { a: {}, b: 1 }],
    ['a text that imitates structure', { a: '1","b":"2' }, { a: '1', b: '2' }],
    ['capital and small letters', { A: 1 }, { a: 1 }],
    ['a composed and a decomposed letter', 'é', 'e\u0301'],
  ])('tells apart: %s', (_name, one, other) => expect(canonicalJson(one)).not.toBe(canonicalJson(other)))
})
