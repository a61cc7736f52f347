import * as v from 'valibot'

/**
 * Ids are text: a prefix that says what it is, then a time-ordered part (10 characters of milliseconds, 16 of
 * randomness, Crockford base 32 as in ULID), so that sorting by id is sorting by age.
 */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** `random` must hold 16 bytes at least; only five bits of each are used. */
export const makeId = (prefix: string, timeMs: number, random: Uint8Array): string => {
  let time = ''
  for (let rest = timeMs, i = 0; i < 10; i += 1) {
    time = ALPHABET[rest % 32] + time
    rest = Math.floor(rest / 32)
  }
  let tail = ''
  for (let i = 0; i < 16; i += 1) tail += ALPHABET[(random[i] ?? 0) & 31]
  return `${prefix}_${time}${tail}`
}

export const InstanceId = v.pipe(
  v.string(),
  v.regex(/^[a-z][a-z0-9-]{0,62}$/, 'must be 1 to 63 characters of a-z, 0-9 and -, and begin with a letter'),
)

export const JobId = v.pipe(v.string(), v.regex(/^job_[0-9A-HJKMNP-TV-Z]{26}$/, 'must be a job id'))

export const BatchId = v.pipe(v.string(), v.regex(/^batch_[0-9A-HJKMNP-TV-Z]{26}$/, 'must be a batch id'))

export const ReplayId = v.pipe(v.string(), v.regex(/^replay_[0-9A-HJKMNP-TV-Z]{26}$/, 'must be a replay id'))

/**
 * `art_{job}_{attempt}_{index}`: the artifact's place is readable from its id, so serving it needs no look-up. Rate limits
 * cost no attempt, so a job of long patience may count thousands.
 */
const ARTIFACT = /^art_([0-9A-HJKMNP-TV-Z]{26})_(\d{1,9})_(\d{1,3})$/

export const artifactId = (job: string, attempt: number, index: number): string =>
  `art_${job.slice('job_'.length)}_${attempt}_${index}`

/** The R2 key of an artifact, or null where the id is not one. */
export const artifactKey = (instance: string, id: string): string | null => {
  const parts = ARTIFACT.exec(id)
  return parts ? `${instance}/job_${parts[1]}/${parts[2]}-${parts[3]}` : null
}

/** Of a model's name, `provider/model`. */
export const providerIdOf = (model: string): string => model.split('/')[0] ?? ''
