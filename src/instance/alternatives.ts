import type { ImageInput } from '../contract/image.ts'
import { rankCandidates } from '../core/choice.ts'
import type { Alternative } from '../core/outcome.ts'
import { candidatesFor } from './availability.ts'
import type { Books } from './books.ts'
import type { JobRow } from './job-rows.ts'
import { textCandidatesOf } from './text-candidates.ts'
import { wishesOf } from './wishes.ts'

/** Models that a job allows beside those that were tried, best first. */
export const alternativesOf = (books: Books, row: JobRow, tried: ReadonlySet<string>, now: number): Alternative[] => {
  const { models, fallback } = wishesOf(row)
  const untried = fallback ? models.filter((name) => !tried.has(name)) : []
  return untried.length === 0 ? [] : ableModels(books, row, untried, now)
}

/** Those of a job's models that could be called, at once or later: as the job prefers them, best first. */
export const ableModels = (books: Books, row: JobRow, models: readonly string[], now: number): Alternative[] => {
  const { prefer, prices } = wishesOf(row)
  const candidates =
    row.type === 'image.generate@1'
      ? candidatesFor(books, models, JSON.parse(row.input) as ImageInput, row.tokens, now).candidates
      : textCandidatesOf(books, row, models, prices, now)
  return rankCandidates(candidates, prefer, now).flatMap(({ model, readyAtMs }) =>
    readyAtMs === null ? [] : [{ model, readyAtMs }],
  )
}
