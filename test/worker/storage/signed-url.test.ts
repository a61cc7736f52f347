import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../src/limits.ts'
import { signArtifact, signArtifactPath, verifyArtifactSignature } from '../../../src/storage/signed-url.ts'

const keyOf = (byte: number): string => btoa(String.fromCharCode(...new Uint8Array(32).fill(byte)))
const master = keyOf(1)
const artifact = 'art_01JAAAAAAAAAAAAAAAAAAAAAAA_1_0'
const now = Date.UTC(2026, 10, 20, 12, 34, 56)

const signed = async (masterKeys = master, nowMs = now) => {
  const { exp, sig } = await signArtifact(masterKeys, 'prod', artifact, nowMs)
  return { exp: String(exp), sig }
}
const verify = (query: { exp: string | null; sig: string | null }, masterKeys = master, nowMs = now) =>
  verifyArtifactSignature(masterKeys, 'prod', artifact, query, nowMs)

describe('a signed artifact URL', () => {
  test('opens its artifact', async () => {
    const path = await signArtifactPath(master, 'prod', artifact, now)
    const url = new URL(path, 'https://switchyard.example')
    expect(url.pathname).toBe(`/v1/instances/prod/artifacts/${artifact}`)
    expect(await verify({ exp: url.searchParams.get('exp'), sig: url.searchParams.get('sig') })).toBe(true)
  })

  test('is the same within an hour and another in the next', async () => {
    const hour = now - (now % LIMITS.artifactUrlMs)
    const first = await signed(master, hour)
    expect(await signed(master, hour + LIMITS.artifactUrlMs - 1)).toEqual(first)
    expect(await signed(master, hour + LIMITS.artifactUrlMs)).not.toEqual(first)
  })

  test.each([0, 1, 59 * 60_000, 60 * 60_000 - 1])('signed %i ms into the hour lives one to two hours', async (into) => {
    const start = now - (now % LIMITS.artifactUrlMs) + into
    const query = await signed(master, start)
    expect(await verify(query, master, start + LIMITS.artifactUrlMs)).toBe(true)
    expect(await verify(query, master, start + 2 * LIMITS.artifactUrlMs)).toBe(false)
    expect(await verify(query, master, Number(query.exp) * 1000 - 1)).toBe(true)
    expect(await verify(query, master, Number(query.exp) * 1000)).toBe(false)
  })

  test('does not open another artifact or another instance', async () => {
    const query = await signed()
    expect(await verifyArtifactSignature(master, 'prod', artifact.replace('_0', '_1'), query, now)).toBe(false)
    expect(await verifyArtifactSignature(master, 'prod-2', artifact, query, now)).toBe(false)
  })

  test('of an older master key still opens; of an unknown one it does not', async () => {
    const query = await signed()
    expect(await verify(query, `${keyOf(2)},${master}`)).toBe(true)
    expect(await verify(query, keyOf(2))).toBe(false)
    expect(await signed(`${keyOf(2)},${master}`)).toEqual(await signed(keyOf(2)))
  })

  test('that is forged in any way does not open', async () => {
    const { exp, sig } = await signed()
    const flipped = (sig.startsWith('0') ? '1' : '0') + sig.slice(1)
    const forged: { exp: string | null; sig: string | null }[] = [
      { exp: String(Number(exp) + 3600), sig },
      { exp, sig: flipped },
      { exp, sig: sig.slice(0, -2) },
      { exp, sig: `${sig}00` },
      { exp, sig: sig.toUpperCase() },
      { exp, sig: '' },
      { exp, sig: null },
      { exp: null, sig },
      { exp: `${exp}.0`, sig },
      { exp: '-1', sig },
      { exp: '9e15', sig },
      { exp: 'NaN', sig },
    ]
    for (const query of forged) expect([query, await verify(query)]).toEqual([query, false])
  })

  test('cannot be made without a usable master key', async () => {
    await expect(signArtifact('', 'prod', artifact, now)).rejects.toThrow('MASTER_KEY is missing')
  })
})
