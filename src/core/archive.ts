import { LIMITS } from '../limits.ts'

/**
 * How finished jobs lie in the archive: objects of one JSON document a line. An object holds jobs whose ids begin alike, so
 * those that could hold a given id are few, and stand together.
 */

/** `job_` and six characters of time: all ids made within 17 minutes and 28 seconds. */
const PREFIX_CHARACTERS = 'job_'.length + 6

/** The first and the last id of the jobs among which this one would lie. */
export const neighbourhood = (id: string): { from: string; to: string } => {
  const prefix = id.slice(0, PREFIX_CHARACTERS)
  return { from: prefix, to: `${prefix}~` }
}

export type Packed = {
  /** In the order of their ids. */
  ids: string[]
  lines: string[]
  /** All up to this one were looked at. Null: none was. */
  reached: string | null
}

/**
 * The first jobs, in order, that make one object: of one neighbourhood, not too many and not too long. `lineOf` gives null for
 * a job that cannot be read, which is left out and stays. One job always fits.
 */
export const packJobs = (ids: readonly string[], lineOf: (id: string) => string | null): Packed => {
  const packed: Packed = { ids: [], lines: [], reached: null }
  let length = 0
  for (const id of ids) {
    const [first] = packed.ids
    if (first !== undefined && neighbourhood(first).from !== neighbourhood(id).from) break
    if (packed.ids.length === LIMITS.archiveJobs) break
    const line = lineOf(id)
    if (line !== null) {
      if (first !== undefined && length + line.length > LIMITS.archiveCharacters) break
      packed.ids.push(id)
      packed.lines.push(line)
      length += line.length + 1
    }
    packed.reached = id
  }
  return packed
}

/** The line of a job in an object's text, or null where it is not there. Each line begins with its id. */
export const findLine = (text: string, id: string): string | null => {
  const start = `{"id":"${id}"`
  let at = text.startsWith(start) ? 0 : text.indexOf(`\n${start}`)
  if (at === -1) return null
  if (at > 0) at += 1
  const end = text.indexOf('\n', at)
  return end === -1 ? text.slice(at) : text.slice(at, end)
}
