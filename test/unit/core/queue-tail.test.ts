import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Place, QueueTail } from '../../../src/core/queue-tail.ts'

const at = (tag: number, id = `job_${tag}`): Place => ({ tag, id })

describe('the end of a queue', () => {
  test('tells nothing before its last place was seen, and nothing of what stands before that', () => {
    const tail = new QueueTail(10)
    tail.entered(at(5))
    expect(tail.behind(at(5))).toBe(null)
    tail.sawLast(at(5))
    expect(tail.behind(at(5))).toBe(0)
    expect(tail.behind(at(4))).toBe(null)
  })

  test('counts who came behind, who came between, and not who left', () => {
    const tail = new QueueTail(10)
    tail.sawLast(at(1))
    for (const tag of [2, 4, 3]) tail.entered(at(tag))
    expect(tail.behind(at(1))).toBe(3)
    expect(tail.behind(at(3))).toBe(1)
    tail.left(at(4))
    expect(tail.behind(at(1))).toBe(2)
    expect(tail.behind(at(3))).toBe(0)
  })

  test('orders places of one tag by their ids', () => {
    const tail = new QueueTail(10)
    tail.sawLast(at(1, 'job_a'))
    tail.entered(at(1, 'job_c'))
    tail.entered(at(1, 'job_b'))
    expect(tail.behind(at(1, 'job_b'))).toBe(1)
  })

  test('is still known when everybody has left', () => {
    const tail = new QueueTail(10)
    tail.sawLast(at(1))
    tail.left(at(1))
    tail.entered(at(2))
    expect(tail.behind(at(2))).toBe(0)
  })

  test('of a queue that is known whole tells its heads', () => {
    const tail = new QueueTail(10)
    expect(tail.heads(0, 5, null)).toBe(null)
    tail.sawAll([at(2), at(4)])
    tail.entered(at(1))
    tail.left(at(4))
    tail.entered(at(3))
    expect(tail.heads(3, 2, null)).toEqual([at(1), at(2)])
    expect(tail.heads(3, 2, at(1))).toEqual([at(2), at(3)])
    expect(tail.heads(3, 2, at(2.5))).toEqual([at(3)])
    // Somebody waits whom it does not know.
    expect(tail.heads(4, 2, null)).toBe(null)
  })

  test('agrees with a count of the whole queue, whatever comes and goes, as far as it remembers', () => {
    const place = fc.record({ tag: fc.integer({ min: 0, max: 30 }), id: fc.constantFrom('job_a', 'job_b', 'job_c') })
    const step = fc.record({ kind: fc.constantFrom('enter', 'leave', 'look', 'look at all'), place })
    let told = 0
    let toldHeads = 0
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 1, max: 8 }), (steps, max) => {
        const tail = new QueueTail(max)
        const queue = new Map<string, Place>()
        const keyOf = ({ tag, id }: Place) => `${String(tag).padStart(3, '0')} ${id}`
        const behind = (one: Place) => [...queue.keys()].filter((key) => key > keyOf(one)).length
        for (const { kind, place: one } of steps) {
          if (kind === 'enter') {
            queue.set(keyOf(one), one)
            tail.entered(one)
          } else if (kind === 'leave') {
            queue.delete(keyOf(one))
            tail.left(one)
          } else if (kind === 'look at all') {
            tail.sawAll([...queue.keys()].sort().flatMap((key) => queue.get(key) ?? []))
          } else {
            const last = queue.get([...queue.keys()].sort().at(-1) ?? '')
            if (last) tail.sawLast(last)
          }
          for (const other of queue.values()) {
            const known = tail.behind(other)
            if (known === null) continue
            told += 1
            expect(known).toBe(behind(other))
          }
          const heads = tail.heads(queue.size, 3, one)
          if (heads === null) continue
          toldHeads += 1
          const ahead = [...queue.keys()].sort().filter((key) => key > keyOf(one))
          expect(heads.map(keyOf)).toEqual(ahead.slice(0, 3))
        }
      }),
    )
    expect(told).toBeGreaterThan(100)
    expect(toldHeads).toBeGreaterThan(100)
  })
})
