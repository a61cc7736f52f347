import * as v from 'valibot'
import { expect } from 'vitest'

/** Where the first issue of a refused value lies, as clients read it in `param`; null where the value is accepted. */
export const firstIssue = (schema: v.GenericSchema, value: unknown): { path: string; message: string } | null => {
  const parsed = v.safeParse(schema, value, { abortEarly: true })
  if (parsed.success) return null
  const [issue] = parsed.issues
  return { path: v.getDotPath(issue) ?? 'body', message: issue.message }
}

export type Row = [name: string, value: unknown]
export type RefusedRow = [name: string, value: unknown, path: string]

export const expectAccepted = (schema: v.GenericSchema, value: unknown): void =>
  expect(firstIssue(schema, value)).toBeNull()

export const expectRefused = (schema: v.GenericSchema, value: unknown, path: string): void => {
  expect(firstIssue(schema, value)?.path).toBe(path)
  // Without stopping at the first issue as well: no check may trip over what another has refused.
  expect(v.safeParse(schema, value).success).toBe(false)
}

export const text = (length: number): string => 'x'.repeat(length)
