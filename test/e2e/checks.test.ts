import { PNG } from 'pngjs'
import { beforeAll, expect, test } from 'vitest'
import type { Job } from '../../src/contract/job.ts'
import type { IdeogramEmulator } from '../emulators/ideogram.ts'
import { startEmulator, startProduct } from './harness.ts'
import { imageJob, isOver, provision, type Ready, until } from './support.ts'

/** Checked pictures through the built product: its bundle, its decoders, its lanes. */

const ALL = { checks: true, size: '1280x704', format: 'png' }

let emulator: IdeogramEmulator
let ready: Ready
beforeAll(async () => {
  emulator = await startEmulator()
  const product = await startProduct()
  ready = await provision(product.url, { baseUrl: emulator.url })
})

const run = async (prompt: string, input: Record<string, unknown> = ALL, more: Record<string, unknown> = {}) => {
  const { id } = await ready.user.ask<Job>('POST', `${ready.base}/jobs`, imageJob(prompt, more, input))
  return until(() => ready.user.ask<Job>('GET', `${ready.base}/jobs/${id}`), isOver)
}

test('a good picture is stored as it came, and says what was checked', async () => {
  const job = await run('a lighthouse at dawn')
  expect(job).toMatchObject({ status: 'succeeded', input: { checks: true } })
  const [image] = job.output?.images ?? []
  expect(image).toMatchObject({ width: 1280, height: 704 })
  expect(image?.checks).toEqual({ decode: true, not_blank: true, dimensions: true, format: true })
  const stored = await fetch(image?.url ?? '')
  expect(PNG.sync.read(Buffer.from(await stored.arrayBuffer())).width).toBe(1280)
})

test.each(['jpeg', 'webp'])('a %s is decoded too', async (format) => {
  const job = await run(`a harbour at noon [[image_format:${format}]]`, { checks: { decode: true, not_blank: true } })
  expect(job.status).toBe('succeeded')
  expect(job.output?.images).toMatchObject([
    { content_type: `image/${format}`, checks: { decode: true, not_blank: true } },
  ])
})

test.each([
  ['blank', '[[blank_image]]', 'content_rejected', 'Image 1 was not stored: it is blank.'],
  [
    'of another size',
    '[[wrong_size:640x352]]',
    'provider_rejected',
    'Image 1 was not stored: it is 640x352, and 1280x704 was asked for.',
  ],
  [
    'of another format',
    '[[image_format:webp]]',
    'provider_rejected',
    'Image 1 was not stored: it is image/webp, and image/png was asked for.',
  ],
] as const)('a picture that is %s fails the job once, and stays paid', async (_what, directive, code, message) => {
  const job = await run(`a mountain at dusk ${directive}`)
  expect(job).toMatchObject({ status: 'failed', error: { code, message }, cost_usd: 0.06, output: null })
  expect(job.attempts).toHaveLength(1)
})

test('a picture that was damaged on its way is fetched again, not made again', async () => {
  const before = emulator.stats().accepted
  const job = await run('a forest in the rain [[corrupt_image:1]]')
  expect(job).toMatchObject({ status: 'succeeded', cost_usd: 0.06 })
  expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['artifact_failed', 'done'])
  expect(emulator.stats().accepted).toBe(before + 1)
})

test('a picture that the provider itself has damaged is fetched twice and no more', async () => {
  const job = await run('a river in the fog [[corrupt_image]]', ALL, { max_attempts: 5 })
  expect(job).toMatchObject({ status: 'failed', error: { code: 'artifact_failed' }, cost_usd: 0.06 })
  expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['artifact_failed', 'artifact_failed'])
  expect(emulator.stats().generations.at(-1)).toMatchObject({ downloads: 2 })
})

test('without checks the same pictures are stored', async () => {
  for (const directive of ['[[blank_image]]', '[[wrong_size:640x352]]', '[[corrupt_image]]']) {
    expect((await run(`a road at night ${directive}`, { size: '1280x704' })).status).toBe('succeeded')
  }
})
