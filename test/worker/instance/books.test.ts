import { expect, test } from 'vitest'
import { Books } from '../../../src/instance/books.ts'
import type { PriceBook } from '../../../src/instance/price-book.ts'

test('jobs that have left the queue leave nothing in memory, however many models they named', () => {
  const books = new Books('prod', {} as PriceBook)
  for (let i = 0; i < 1_000; i += 1) {
    const job = { provider: 'vllm', model: `vllm/model-${i}`, priority: 5, queued_at_ms: 0 }
    books.enterQueue(job)
    books.leaveQueue(job)
  }
  expect([...books.ready('vllm').keys()]).toEqual([])
})
