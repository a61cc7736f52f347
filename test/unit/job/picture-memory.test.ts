import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'

const DIGEST = new URL('../../../src/storage/digest.ts', import.meta.url).href

/** As much heap as an actor can spare of its 128 MB. */
const HEAP_MB = 80

test('a picture of 16 MB that comes inside an answer is read without many times its memory', () => {
  const program = `
    const { fromBase64 } = await import('${DIGEST}')
    const bytes = fromBase64(Buffer.alloc(16_000_000, 7).toString('base64'))
    process.stdout.write([bytes.length, ...bytes.slice(-2)].join())`
  const flags = [`--max-old-space-size=${HEAP_MB}`, '--input-type=module', '--eval', program]
  expect(execFileSync(process.execPath, flags, { encoding: 'utf8', stdio: 'pipe' })).toBe('16000000,7,7')
})
