import type { ImageInput } from '../contract/image.ts'
import { rankCandidates } from '../core/choice.ts'
import type { Alternative } from '../core/outcome.ts'
import { candidatesFor } from './availability.ts'
import type { Books } from './books.ts'
import type { JobRow } from './job-rows.ts'
import { textCandidatesOf } from './text-candidates.ts'
import { wishesOf } from './wishes.ts'

/** Models that a job allows beside those that were tried, and when each could be called: as the job prefers them, best first. */
export const alternativesOf = (books: Books, row: JobRow, tried: ReadonlySet<string>, now: number): Alternative[] => {
  const { models, prefer, fallback, prices } = wishesOf(row)
  if (!fallback) return []
  const untried = models.filter((name) => !tried.has(name))
  if (untried.length === 0) return []
  const candidates =
    row.type === 'image.generate@1'
      ? candidatesFor(books, untried, JSON.parse(row.input) as ImageInput, row.tokens, now).candidates
      : textCandidatesOf(books, row, untried, prices, now)
  return rankCandidates(candidates, prefer, now).flatMap(({ model, readyAtMs }) =>
    readyAtMs === null ? [] : [{ model, readyAtMs }],
  )
}
