import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runtimeBytes, startChild } from '../bench/processes.ts'
import { loremPieces } from '../emulators/openai/tokens.ts'
import { afterFile, startProduct } from './harness.ts'
import { CHAT, ledgerAtRest, provisionLine } from './line.ts'
import { hear } from './line-client.ts'

/** `STREAMS=200x100`: how many at once, and chunks of each, where the whole takes too long. */
const [STREAMS = 0, CHUNKS = 0] = (process.env.STREAMS ?? '1000x200').split('x').map(Number)
/** What a stream costs while it is open: connections on both sides, and what V8 has not collected yet. */
const BYTES_PER_STREAM = 640 * 1024
/** What the runtime takes besides, once it is busy at all. */
const BYTES_WHEN_BUSY = 160 * 1024 * 1024
/** What the second half of all chunks may add to the first: nothing but the collector's own ups and downs. */
const BYTES_OF_SECOND_HALF = 96 * 1024 * 1024
const MEGABYTE = 1024 * 1024

test(`${STREAMS} streams of ${CHUNKS} chunks at once come whole and in order, in memory that does not grow while they run`, {
  timeout: 180_000,
}, async () => {
  const emulator = await startChild(
    process.execPath,
    [join(import.meta.dirname, '../emulators/openai.ts'), '--chunk-delay', '50', '--no-draw'],
    { ready: /ready (http:\S+)/ },
  )
  afterFile(() => emulator.stop())
  const product = await startProduct()
  const line = await provisionLine(product, { openai: { url: emulator.ready, limits: { concurrency: STREAMS } } })
  const expected = loremPieces(CHUNKS)
  const streams = (count: number) =>
    Promise.all(
      Array.from({ length: count }, (_, at) =>
        hear(
          `${line.url}/chat/completions`,
          line.key,
          {
            model: CHAT,
            stream: true,
            stream_options: { include_usage: true },
            messages: [{ role: 'user', content: `stream ${at} [[chunks:${CHUNKS}]]` }],
          },
          { patienceMs: 170_000 },
        ),
      ),
    )
  await streams(10)
  const before = runtimeBytes([product.pid])
  const samples: number[] = []
  const sampling = setInterval(() => samples.push(runtimeBytes([product.pid])), 250)
  const startedAt = Date.now()
  const heard = await streams(STREAMS)
  clearInterval(sampling)
  const seconds = (Date.now() - startedAt) / 1000
  const peak = Math.max(before, ...samples)
  const middle = samples[Math.floor(samples.length / 2)] ?? before
  console.log(
    JSON.stringify({
      streams: STREAMS,
      chunks: CHUNKS,
      seconds,
      chunks_per_second: Math.round((STREAMS * CHUNKS) / seconds),
      resident_mb: [before, middle, samples.at(-1) ?? 0, peak].map((bytes) => Math.round(bytes / MEGABYTE)),
    }),
  )

  const wrong = heard.filter(
    ({ pieces, done, error }) => !done || error !== null || pieces.join('|') !== expected.join('|'),
  )
  expect(wrong.map(({ status, end, error, pieces }) => ({ status, end, error, pieces: pieces.length }))).toEqual([])
  expect(peak - before).toBeLessThan(BYTES_WHEN_BUSY + STREAMS * BYTES_PER_STREAM)
  expect(peak - middle).toBeLessThan(BYTES_OF_SECOND_HALF)
  const ledger = await ledgerAtRest(line, STREAMS + 10)
  expect([ledger.attempts, ledger.difference_usd, ledger.presumed_usd]).toEqual([STREAMS + 10, 0, 0])
})
