import { expect, test } from 'vitest'
import { equalConstantTime, fromBase64, randomBytes, sha256Hex, toBase64 } from '../../../src/storage/digest.ts'

test('SHA-256 gives the values of FIPS 180-2', async () => {
  expect(await sha256Hex('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  expect(await sha256Hex(new Uint8Array(0))).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
})

test.each([
  ['', '', true],
  ['abcd', 'abcd', true],
  ['abcd', 'abce', false],
  ['abcd', 'abc', false],
  ['abcd', '', false],
])('%j and %j are equal: %s', (a, b, equal) => {
  expect(equalConstantTime(a, b)).toBe(equal)
})

test('random bytes are as many as asked for, and others each time', () => {
  expect(randomBytes(16)).toHaveLength(16)
  expect(randomBytes(16)).not.toEqual(randomBytes(16))
})

test('base64 goes there and back, and what is none is told', () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
  expect(fromBase64(toBase64(bytes))).toEqual(bytes)
  for (const text of ['A', '====', 'AAAA AAAA', 'AA-_', 'ä']) expect([text, fromBase64(text)]).toEqual([text, null])
})
