import { evictDurableObject } from 'cloudflare:test'
import { expect, test } from 'vitest'
import { Books } from '../../../src/instance/books.ts'
import type { PriceBook } from '../../../src/instance/price-book.ts'
import { LIMITS } from '../../../src/limits.ts'
import { exec } from '../support/actor.ts'
import { instanceStub, rowsOf } from '../support/client.ts'
import { close, END, MODEL, open, openLine } from '../support/line.ts'

test('jobs that have left the queue leave nothing in memory, however many models they named', () => {
  const books = new Books('prod', {} as PriceBook)
  for (let i = 0; i < 1_000; i += 1) {
    const job = { provider: 'vllm', model: `vllm/model-${i}`, priority: 5, queued_at_ms: 0 }
    books.queues.enter(job)
    books.queues.leave(job)
  }
  expect([...books.queues.ready('vllm').keys()]).toEqual([])
})

test('of models of any name those used last are remembered, in memory and on disk', async () => {
  await openLine()
  await exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${LIMITS.modelsRemembered})
    INSERT INTO track_records (model, record) SELECT 'vllm/' || i, '{"outcomes":[true],"durationsMs":[1]}' FROM n`)
  await evictDurableObject(instanceStub('prod'))
  await close(await open(), END)
  const models = await rowsOf('prod', 'SELECT model FROM track_records')
  expect(models.length).toBe(LIMITS.modelsRemembered)
  expect(models).toContainEqual({ model: MODEL })
})
