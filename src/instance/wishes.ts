import type { JobRow, Wishes } from './job-rows.ts'

/** What a job asked for beyond its input. */
export const wishesOf = ({ wishes }: Pick<JobRow, 'wishes'>): Readonly<Wishes> => {
  if (last?.text !== wishes) last = { text: wishes, parsed: JSON.parse(wishes) as Wishes }
  return last.parsed
}

/** A turn looks several times at the same row, and most jobs of an application wish for the same. */
let last: { text: string; parsed: Wishes } | null = null
