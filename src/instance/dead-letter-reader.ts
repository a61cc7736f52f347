import type { DeadLetterFilter, DeadLetterRecords } from '../contract/dead-letter.ts'
import { ok, type Result } from '../contract/fault.ts'
import { type Answered, toWire } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import { otherProject, type Principal } from './access.ts'
import type { Place } from './dead-letter-store.ts'
import { queryOf, spanOf } from './dead-letters.ts'
import type { JobRow } from './job-rows.ts'
import type { Parts } from './parts.ts'
import { answer, recordOf } from './reader.ts'

/** `after`: `{ms}.{job}`, the place of the last dead letter seen. */
export type DeadLetterPageRequest = { filter: DeadLetterFilter; after?: string; limit: number; summary: boolean }

/** Dead letters as clients read them: the newest failure first. */
export const readDeadLetters = (
  parts: Parts,
  principal: Principal,
  { filter, after, limit, summary }: DeadLetterPageRequest,
  now: number,
): Answered<DeadLetterRecords> => {
  if (foreignProject(principal, filter.project)) return answer(parts, toWire<DeadLetterRecords>(NOTHING), now)
  const query = queryOf(filter, principal.project)
  const whole = spanOf(filter)
  const cursor = after === undefined ? null : placeOf(after)
  const before = cursor !== null && isBefore(cursor, whole.before) ? cursor : whole.before
  const { ids, next } = parts.letters.newest(query, { ...whole, before }, limit)
  const { rows, cutAt } = fitting(parts, ids)
  const page: DeadLetterRecords = {
    data: rows.map((row) => recordOf(parts, row, null, now)),
    next: textOf(cutAt ?? next),
  }
  if (summary) {
    const codes = parts.letters.countByCode(query, whole)
    const total = Object.values(codes).reduce((sum, count) => sum + count, 0)
    page.summary = { total, codes, complete: parts.letters.beyondReplay(query, whole) === null }
  }
  return answer(parts, toWire(page), now)
}

/** As many as fit into memory; `cutAt` is the last of them where others are left out. */
const fitting = (parts: Parts, ids: readonly string[]): { rows: JobRow[]; cutAt: Place | null } => {
  const rows: JobRow[] = []
  let characters = 0
  for (const id of ids) {
    const row = parts.jobs.find(id)
    if (!row) continue
    rows.push(row)
    characters += row.input.length + (row.output?.length ?? 0)
    if (characters > LIMITS.jobsPageCharacters && id !== ids.at(-1)) {
      return { rows, cutAt: { atMs: row.ended_at_ms ?? 0, id } }
    }
  }
  return { rows, cutAt: null }
}

const textOf = (place: Place | null): string | null => place && `${place.atMs}.${place.id}`

const NOTHING: DeadLetterRecords = { data: [], next: null }

/** A key of one project acts on that project's dead letters only. */
export const ownProject = (principal: Principal, asked: string | undefined): Result<null> =>
  foreignProject(principal, asked) ? otherProject() : ok(null)

const foreignProject = (principal: Principal, asked: string | undefined): boolean =>
  principal.project !== null && asked !== undefined && asked !== principal.project

const placeOf = (cursor: string): Place => {
  const dot = cursor.indexOf('.')
  return { atMs: Number(cursor.slice(0, dot)), id: cursor.slice(dot + 1) }
}

const isBefore = (a: Place, b: Place): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.id < b.id)
