import * as v from 'valibot'
import { fault } from '../contract/fault.ts'
import { FOREGROUND } from '../contract/foreground.ts'
import { check, isInborn } from './body.ts'
import { Refused } from './refused.ts'

/** Switchyard's own fields as headers, for clients that cannot add fields to a body. A field of the body wins. */

type Read = (text: string) => unknown

const asText: Read = (text) => text
const asNumber: Read = (text) => (/^-?\d+(?:\.\d+)?$/.test(text) ? Number(text) : text)
const asFlag: Read = (text) => (text === 'true' ? true : text === 'false' ? false : text)
const asList: Read = (text) => text.split(',').map((name) => name.trim())
const asJson: Read = (text) => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

const HEADERS = {
  models: asList,
  prefer: asText,
  project: asText,
  metadata: asJson,
  max_cost_usd: asNumber,
  fallback: asFlag,
  deadline_s: asNumber,
} satisfies Partial<Record<keyof typeof FOREGROUND, Read>>

const FIELDS = Object.entries(HEADERS).map(([field, read]) => ({
  field: field as keyof typeof HEADERS,
  header: `x-switchyard-${field.replaceAll('_', '-')}`,
  read,
}))

/** For preflight answers. */
export const OWN_HEADERS = FIELDS.map(({ header }) => header)

/** Adds to a body what its headers say. Throws `Refused`, which names the header at fault. */
export const withOwnHeaders = (headers: Headers, body: unknown): unknown => {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return body
  let whole = body as Record<string, unknown>
  for (const { field, header, read } of FIELDS) {
    const text = headers.get(header)
    if (text === null || (whole[field] !== undefined && whole[field] !== null)) continue
    whole = { ...whole, [field]: fieldOf(field, header, read(text)) }
  }
  return whole
}

const fieldOf = (field: keyof typeof HEADERS, header: string, value: unknown): unknown => {
  if (typeof value === 'object' && value !== null && Object.keys(value).some(isInborn))
    throw new Refused(fault('invalid_request', `${header} holds a key that is reserved.`, { param: header }))
  try {
    return check(v.object({ [header]: FOREGROUND[field] }), { [header]: value })[header]
  } catch (error) {
    if (error instanceof Refused)
      throw new Refused(fault('invalid_request', error.fault.message, { ...error.fault, param: header }))
    throw error
  }
}
