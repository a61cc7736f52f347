import { createParser, type ParseError } from 'eventsource-parser'
import { LIMITS } from '../limits.ts'
import type { SseEvent } from './dialect.ts'

/**
 * Bytes of a provider's event stream to its events, wherever the network has cut them: between the bytes of a character, in
 * a line, between CR and LF. Comments, ids and a byte order mark are passed over.
 */
export type SseReader = {
  /** The events that these bytes complete. */
  read(bytes: Uint8Array): SseEvent[]
  /** What the end of the stream completes: an event that lacks its blank line, if it is whole. */
  end(): SseEvent[]
  /** True once one event was larger than `LIMITS.streamEventCharacters`: nothing more is read. */
  readonly overflowed: boolean
}

export const createSseReader = (): SseReader => {
  const decoder = new TextDecoder()
  let events: SseEvent[] = []
  let overflowed = false
  let lineIsOpen = false
  /** A line that may be a stray error: the parser drops one that comes in pieces. */
  let stray = ''

  const parser = createParser({
    maxBufferSize: LIMITS.streamEventCharacters,
    onEvent: (event) => events.push(event),
    onError: (error) => {
      if (error.type === 'max-buffer-size-exceeded') overflowed = true
      const data = strayError(error)
      if (data !== null) events.push({ event: 'error', data })
    },
  })

  const feed = (part: string): SseEvent[] => {
    if (overflowed || part === '') return []
    events = []
    const cut = Math.max(part.lastIndexOf('\n'), part.lastIndexOf('\r')) + 1
    const goesOn = cut === 0 && stray === '' && lineIsOpen
    const whole = goesOn ? part : cut === 0 ? '' : stray + part.slice(0, cut)
    const line = goesOn ? '' : cut === 0 ? stray + part : part.slice(cut)
    const isStray = (cut === 0 && stray.length > 'error:'.length) || STRAY.test(line.slice(0, 'error:'.length))
    stray = isStray ? line : ''
    lineIsOpen = !part.endsWith('\n')
    overflowed = stray.length > LIMITS.streamEventCharacters
    const text = isStray ? whole : whole + line
    if (text !== '' && !overflowed) parser.feed(text)
    return events
  }

  return {
    read: (bytes) => feed(decoder.decode(bytes, STREAM)),
    end: () => {
      const rest = feed(decoder.decode())
      const wasOpen = lineIsOpen
      const last = feed('\n\n')
      return [...rest, ...(wasOpen ? last.filter(({ data }) => isWhole(data)) : last)]
    },
    get overflowed() {
      return overflowed
    },
  }
}

const STREAM = { stream: true } as const
/** How a line of `strayError` begins, as far as it is there. */
const STRAY = /^(?:\{|e(?:r(?:r(?:or?)?)?)?(?:$|:))/

/** llama.cpp has sent errors as a field of their own, `error: {…}`, and gateways as a bare line of JSON. */
const strayError = (error: ParseError): string | null => {
  if (error.type !== 'unknown-field') return null
  if (error.field === 'error') return error.value ?? null
  return error.line?.startsWith('{"error"') ? error.line : null
}

/** Whether a last line without its end is all there: broken off, it would pass for a malformed event. */
const isWhole = (data: string): boolean => {
  if (data === '[DONE]') return true
  try {
    JSON.parse(data)
    return true
  } catch {
    return false
  }
}
