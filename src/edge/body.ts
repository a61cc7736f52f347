import * as v from 'valibot'
import { fault } from '../contract/fault.ts'
import type { Json } from '../contract/fields.ts'
import { LIMITS } from '../limits.ts'
import { Refused } from './refused.ts'

/** Reads a JSON body: type, size, encoding and depth are checked before it is parsed, the schema after. Throws `Refused`. */
export const readBody = async <S extends v.GenericSchema>(
  { request }: { request: Request },
  schema: S,
  maxBytes: number = LIMITS.bodyBytes,
): Promise<v.InferOutput<S>> => check(schema, await readJson(request, maxBytes))

/** The same before the schema. `maxBytes` bounds the body. */
export const readJson = async (request: Request, maxBytes: number): Promise<Json> => {
  const type = request.headers.get('content-type')
  if (!type || !/^application\/(?:[a-z0-9.+-]+\+)?json\s*(?:;|$)/i.test(type)) {
    throw new Refused(fault('unsupported_media_type', 'The body must be JSON: Content-Type: application/json.'))
  }
  return parse(await readText(request, maxBytes))
}

/** Checks a value against a schema. The first issue names its field. */
export const check = <S extends v.GenericSchema>(schema: S, value: unknown): v.InferOutput<S> => {
  const parsed = v.safeParse(schema, value, { abortEarly: true })
  if (parsed.success) return parsed.output
  const [issue] = parsed.issues
  throw new Refused(fault('invalid_request', describe(issue), { param: pathOf(issue) }))
}

const pathOf = (issue: v.BaseIssue<unknown>): string =>
  (v.getDotPath(issue) ?? '').replace(/[^\x20-\x7e]/g, '?').slice(0, 200) || 'body'

/** What the library calls a kind of value, in the words of our own sentences. */
const KINDS: Record<string, string> = {
  Object: 'an object',
  Array: 'a list',
  string: 'text',
  number: 'a number',
  boolean: 'true or false',
}

/** Our own sentence, or the library's without the value received: that may be a secret or a prompt. */
const describe = (issue: v.BaseIssue<unknown>): string => {
  const field = pathOf(issue)
  if (issue.type === 'strict_object' && issue.expected === 'never') return `${field} is not a field of this request.`
  if (issue.received === 'undefined') return `${field} is required.`
  const expected = issue.expected ?? 'valid'
  const ours = issue.message.startsWith('Invalid ') ? `must be ${KINDS[expected] ?? expected}` : issue.message
  return `${field} ${ours}`.replace(/([^.])$/, '$1.')
}

/** The body as text, bounded, or a refusal. */
export const readText = async (request: Request, maxBytes: number = LIMITS.bodyBytes): Promise<string> => {
  const announced = Number(request.headers.get('content-length') ?? 0)
  if (announced > maxBytes) {
    await request.body?.cancel()
    throw tooLarge(maxBytes)
  }
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false })
  // An announced length is one the runtime holds the client to, so the whole body can be taken at once.
  if (announced > 0) return readWhole(request, decoder, maxBytes)
  let text = ''
  let bytes = 0
  try {
    for await (const chunk of request.body ?? []) {
      bytes += chunk.byteLength
      // Leaving the loop cancels the body: what is over the bound is never read.
      if (bytes > maxBytes) throw tooLarge(maxBytes)
      text += decoder.decode(chunk, { stream: true })
    }
    return text + decoder.decode()
  } catch (error) {
    if (error instanceof Refused) throw error
    throw notWhole()
  }
}

const readWhole = async (request: Request, decoder: TextDecoder, maxBytes: number): Promise<string> => {
  try {
    const body = await request.arrayBuffer()
    if (body.byteLength > maxBytes) throw tooLarge(maxBytes)
    return decoder.decode(body)
  } catch (error) {
    throw error instanceof Refused ? error : notWhole()
  }
}

const notWhole = () =>
  new Refused(fault('invalid_request', 'The body is not UTF-8 or did not arrive whole.', { param: 'body' }))

const tooLarge = (maxBytes: number) =>
  new Refused(fault('payload_too_large', `The body is larger than ${maxBytes} bytes.`))

const parse = (text: string): Json => {
  if (depthOf(text) > LIMITS.jsonDepth) {
    throw new Refused(
      fault('invalid_request', `The body is nested deeper than ${LIMITS.jsonDepth}.`, { param: 'body' }),
    )
  }
  const value = parsed(text)
  if ((text.length > SEARCHED_CHARACTERS || MAY_HOLD_INBORN.test(text)) && holdsInborn(value))
    throw new Refused(fault('invalid_request', 'The body holds a key that is reserved.', { param: 'body' }))
  return value
}

const parsed = (text: string): Json => {
  try {
    return JSON.parse(text) as Json
  } catch {
    throw new Refused(fault('invalid_request', 'The body is not JSON.', { param: 'body' }))
  }
}

/**
 * Names that every object is born with: schemas of free keys drop them silently, so they are refused. Looked for in the
 * text first, where that is short; an escape could hide one.
 */
const SEARCHED_CHARACTERS = 4_096
const MAY_HOLD_INBORN = /__proto__|constructor|prototype|\\u/

export const isInborn = (key: string): boolean => key === '__proto__' || key === 'constructor' || key === 'prototype'

const holdsInborn = (value: Json): boolean => {
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) return value.some(holdsInborn)
  for (const key of Object.keys(value)) {
    if (isInborn(key)) return true
    if (holdsInborn(value[key] ?? null)) return true
  }
  return false
}

/** Deepest nesting of brackets outside of strings, without building anything. Long strings are passed over in one step. */
const depthOf = (text: string): number => {
  let depth = 0
  let deepest = 0
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charCodeAt(at)
    if (character === 34) at = endOfString(text, at)
    else if (character === 123 || character === 91) deepest = Math.max(deepest, ++depth)
    else if (character === 125 || character === 93) depth -= 1
  }
  return deepest
}

/** Where the string that opens at `from` ends: at the first quote with an even number of backslashes before it. */
const endOfString = (text: string, from: number): number => {
  for (let end = text.indexOf('"', from + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let escapes = 0
    while (text.charCodeAt(end - 1 - escapes) === 92) escapes += 1
    if (escapes % 2 === 0) return end
  }
  return text.length
}
