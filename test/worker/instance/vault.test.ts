import { describe, expect, test } from 'vitest'
import { createVault, hintOf, parseMasterKeys, type Sealed } from '../../../src/instance/vault.ts'

const keyOf = (byte: number, length = 32): string => btoa(String.fromCharCode(...new Uint8Array(length).fill(byte)))
const identity = 'instance/prod/provider/ideogram/credential/main'
const secret = 'sk-ideogram-0123456789-äöü'

describe('the vault', () => {
  test('opens what it sealed', async () => {
    const vault = createVault(keyOf(1))
    for (const plain of [secret, '', '\ufeffmarked', 'x'.repeat(8192)]) {
      expect(await vault.open(await vault.seal(plain, identity), identity)).toBe(plain)
    }
  })

  test('holds nothing of the secret in what it stores, and never the same twice', async () => {
    const vault = createVault(keyOf(1))
    const [one, two] = [await vault.seal(secret, identity), await vault.seal(secret, identity)]
    expect(one.keyId).toMatch(/^[0-9a-f]{16}$/)
    expect(atob(one.iv)).toHaveLength(12)
    expect(JSON.stringify(one)).not.toContain(secret)
    expect(atob(one.ciphertext)).not.toContain('ideogram')
    expect(one.iv).not.toBe(two.iv)
    expect(one.ciphertext).not.toBe(two.ciphertext)
  })

  test('does not open a ciphertext that was moved to another record', async () => {
    const vault = createVault(keyOf(1))
    const sealed = await vault.seal(secret, identity)
    expect(await vault.open(sealed, identity.replace('prod', 'test'))).toBeNull()
    expect(await vault.open(sealed, '')).toBeNull()
  })

  test('does not open what was tampered with', async () => {
    const vault = createVault(keyOf(1))
    const sealed = await vault.seal(secret, identity)
    const flip = (text: string): string => (text.startsWith('A') ? 'B' : 'A') + text.slice(1)
    const tampered: Sealed[] = [
      { ...sealed, ciphertext: flip(sealed.ciphertext) },
      { ...sealed, ciphertext: '' },
      { ...sealed, ciphertext: sealed.ciphertext.slice(0, 8) },
      { ...sealed, ciphertext: 'not base64!' },
      { ...sealed, iv: flip(sealed.iv) },
      { ...sealed, iv: '' },
      { ...sealed, iv: 'A' },
      { ...sealed, keyId: '0000000000000000' },
    ]
    for (const record of tampered) expect([record, await vault.open(record, identity)]).toEqual([record, null])
  })

  test('a rotated key seals anew, the old one still opens, and without it nothing does', async () => {
    const old = await createVault(keyOf(1)).seal(secret, identity)
    const both = createVault(`${keyOf(2)}, ${keyOf(1)}`)
    expect(await both.open(old, identity)).toBe(secret)
    const fresh = await both.seal(secret, identity)
    expect(fresh.keyId).not.toBe(old.keyId)
    expect(await createVault(keyOf(2)).open(fresh, identity)).toBe(secret)
    expect(await createVault(keyOf(2)).open(old, identity)).toBeNull()
    expect(await createVault(keyOf(1)).open(fresh, identity)).toBeNull()
  })
})

describe('MASTER_KEY', () => {
  test.each([
    ['missing', undefined, 'missing'],
    ['empty', '', 'missing'],
    ['blank', '  ', 'missing'],
    ['too short', keyOf(200, 31), 'number 1'],
    ['too long', keyOf(200, 33), 'number 1'],
    ['not base64', 'hunter2-is-not-a-key', 'number 1'],
    ['of impossible length', keyOf(200).slice(0, -3), 'number 1'],
    ['good, then bad', `${keyOf(200)},hunter2`, 'number 2'],
    ['with a comma at its end', `${keyOf(200)},`, 'number 2'],
  ])('%s is told without repeating it', (_name, text, part) => {
    const parsed = parseMasterKeys(text)
    if (parsed.ok) throw new Error('taken')
    expect(parsed.message).toContain('MASTER_KEY')
    expect(parsed.message).toContain(part)
    for (const piece of (text ?? '').split(',')) if (piece.trim()) expect(parsed.message).not.toContain(piece)
    expect(() => createVault(text ?? '')).toThrow(parsed.message)
  })

  test('may hold several keys, the first one first', () => {
    const parsed = parseMasterKeys(`${keyOf(2)} ,\n${keyOf(1)}`)
    expect(parsed.ok && parsed.keys.map((key) => key[0])).toEqual([2, 1])
  })
})

test.each([
  ['sk-0123456789abcd', 'abcd'],
  ['123456789012', '9012'],
  ['12345678901', null],
  ['', null],
])('the hint of %s is %s', (plain, hint) => {
  expect(hintOf(plain)).toBe(hint)
})
