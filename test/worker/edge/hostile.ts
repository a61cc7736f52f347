import type { SendOptions } from '../support/client.ts'

/** Requests that no honest client sends. Each must be refused, or be a plain reading, and change nothing. */
export type Hostile = { name: string; method: string; path: string; options?: SendOptions }

export type Fields = Record<string, unknown>
/** Text that must not come back from anywhere: it stands where secrets and prompts stand. */
export const MARKER = 'MARKER-that-nobody-may-repeat'

export const BASE = '/v1/instances/prod'
export const JOB = 'job_01JAAAAAAAAAAAAAAAAAAAAAAA'
export const image = (more: Fields = {}): Fields => ({ type: 'image.generate', input: { prompt: MARKER, ...more } })
export const short = (value: unknown): string => (JSON.stringify(value) ?? 'undefined').slice(0, 40)
