import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LIMITS } from '../../../src/limits.ts'
import type { SseEvent } from '../../../src/providers/dialect.ts'
import { createSseReader } from '../../../src/providers/sse.ts'

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)

const readAll = (parts: Uint8Array[]): { event: string | undefined; data: string }[] => {
  const reader = createSseReader()
  const events: SseEvent[] = []
  for (const part of parts) events.push(...reader.read(part))
  events.push(...reader.end())
  return events.map(({ event, data }) => ({ event, data }))
}

const cutAt = (bytes: Uint8Array, cuts: number[]): Uint8Array[] => {
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end))
}

describe('an event stream', () => {
  const stream =
    '\ufeff: hello\n\nevent: one\r\ndata: {"a":"Grüße 🚢"}\r\n\r\nid: 7\ndata: x\ndata: y\n\ndata:[DONE]\n\n'
  const events = [
    { event: 'one', data: '{"a":"Grüße 🚢"}' },
    { event: undefined, data: 'x\ny' },
    { event: undefined, data: '[DONE]' },
  ]

  it('is the same events wherever the network cuts it', () => {
    const bytes = bytesOf(stream)
    for (let at = 0; at <= bytes.length; at += 1)
      expect(readAll([bytes.subarray(0, at), bytes.subarray(at)]), String(at)).toEqual(events)
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 12 }), (cuts) => {
        expect(readAll(cutAt(bytes, cuts))).toEqual(events)
      }),
    )
  })

  it('that ends in the middle gives what was whole, and nothing of the rest', () => {
    expect(readAll([bytesOf('data: {"a":1}\n\ndata: {"a":')])).toEqual([{ event: undefined, data: '{"a":1}' }])
    expect(readAll([bytesOf('data: {"a":1}\n\ndata: {"b":2}')])).toHaveLength(2)
    expect(readAll([bytesOf('data: x\n\ndata: [DONE]')]).at(-1)).toEqual({ event: undefined, data: '[DONE]' })
    expect(readAll([bytesOf('data: x\n\ndata: [DONE]\n')]).at(-1)).toEqual({ event: undefined, data: '[DONE]' })
  })

  it.each(['error: {"code":500}\n\n', '{"error":{"message":"no"}}\n\n'])(
    'finds an error outside of data: %s',
    (text) => {
      const [, error] = readAll([bytesOf('data: x\n\n'), bytesOf(text)])
      expect(error).toMatchObject({ event: 'error' })
      for (const bytes of [bytesOf(`data: x\n\n${text}`), bytesOf(`data: x\r\n\r\n${text.trimEnd()}`)])
        for (let at = 0; at <= bytes.length; at += 1)
          expect(readAll([bytes.subarray(0, at), bytes.subarray(at)])[1], String(at)).toEqual(error)
    },
  )

  it('is read no further once one event is larger than the bound', () => {
    const reader = createSseReader()
    const part = bytesOf('x'.repeat(1024 * 1024))
    expect(reader.read(bytesOf('data: '))).toEqual([])
    const rounds = LIMITS.streamEventCharacters / part.length
    for (let round = 0; round < rounds; round += 1) expect(reader.read(part)).toEqual([])
    expect(reader.overflowed).toBe(true)
    expect(reader.read(bytesOf('\n\ndata: y\n\n'))).toEqual([])
    expect(reader.end()).toEqual([])
  })

  it('of any bytes at all never throws', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 8 }), (parts) => {
        expect(Array.isArray(readAll(parts))).toBe(true)
      }),
    )
  })
})
