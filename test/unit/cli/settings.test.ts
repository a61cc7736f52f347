import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ensureKeys } from '../../../src/cli/settings.ts'

const BOTH = 'ROOT_KEY="root_0123456789abcdef"\nMASTER_KEY="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="\n'

let folder: string
let file: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'settings-'))
  file = join(folder, '.dev.vars')
})
afterEach(() => rmSync(folder, { recursive: true }))

const write = (content: string, mode: number) => {
  writeFileSync(file, content)
  chmodSync(file, mode)
}
const mode = () => statSync(file).mode & 0o777

describe('a file of keys that others could read', () => {
  test.each(['644', '664', '604', '640'])('is its owner’s alone once it was read: %s', (open) => {
    write(BOTH, Number.parseInt(open, 8))
    ensureKeys(file, {})
    expect([mode(), readFileSync(file, 'utf8')]).toEqual([0o600, BOTH])
  })

  test('is so before missing keys are written to it', () => {
    write('CORS_ORIGINS="*"\n', 0o644)
    ensureKeys(file, {})
    expect(mode()).toBe(0o600)
    expect(readFileSync(file, 'utf8')).toMatch(/^CORS_ORIGINS="\*"\nROOT_KEY=.+\nMASTER_KEY=.+\n$/)
  })

  test('that its owner may not even change stays as tight as it is', () => {
    write(BOTH, 0o440)
    ensureKeys(file, {})
    expect(mode()).toBe(0o400)
  })

  test('is left alone where it holds none and gets none', () => {
    write('CORS_ORIGINS="*"\n', 0o644)
    ensureKeys(file, { ROOT_KEY: 'given', MASTER_KEY: 'given' })
    expect(mode()).toBe(0o644)
  })
})
