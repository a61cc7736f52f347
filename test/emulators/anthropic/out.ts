import type { ServerResponse } from 'node:http'
import { type Directives, numberOf } from './directives.ts'

/** Writes as the directives say: in pieces of some bytes, up to some byte, with other line ends. */
export function createOut(response: ServerResponse, directives: Directives) {
  const cutAt = directives.has('cut') ? numberOf(directives, 'cut', 0, 100) : Number.POSITIVE_INFINITY
  const step = numberOf(directives, 'split', 0, 0)
  let written = 0
  let open = true
  return {
    write(text: string): boolean {
      if (!open) return true
      let shown = directives.has('comments') ? `: keep-alive\n\n${text}` : text
      if (directives.has('crlf')) shown = shown.replace(/\n/g, '\r\n')
      const bytes = Buffer.from(shown)
      const kept = bytes.subarray(0, Math.max(0, cutAt - written))
      written += kept.length
      open = kept.length === bytes.length
      let flowing = true
      const size = step > 0 ? step : kept.length
      for (let at = 0; at < kept.length; at += size) flowing = response.write(kept.subarray(at, at + size))
      // What was written goes out before the connection breaks.
      if (!open) setImmediate(() => response.destroy())
      return flowing
    },
    isCut: () => !open,
    drained: () =>
      new Promise<void>((resolve) => {
        if (!response.writableNeedDrain) return resolve()
        const done = () => {
          response.off('drain', done)
          response.off('close', done)
          resolve()
        }
        response.on('drain', done)
        response.on('close', done)
      }),
  }
}
