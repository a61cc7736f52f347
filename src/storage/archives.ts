import { findLine } from '../core/archive.ts'

/** The archive in R2: objects of finished jobs, one JSON document a line, beside the pictures of their instance. */

const keyOf = (instance: string, name: string): string => `${instance}/archive/${name}.ndjson`

/** Throws what R2 throws; may be repeated. */
export const writeArchive = async (
  bucket: R2Bucket,
  instance: string,
  name: string,
  lines: readonly string[],
): Promise<void> => {
  await bucket.put(keyOf(instance, name), `${lines.join('\n')}\n`, {
    httpMetadata: { contentType: 'application/x-ndjson' },
  })
}

/** The line of a job, or null where the object is gone or has none of it. Throws what R2 throws. */
export const readArchived = async (
  bucket: R2Bucket,
  instance: string,
  name: string,
  job: string,
): Promise<string | null> => {
  const object = await bucket.get(keyOf(instance, name))
  return object && findLine(await object.text(), job)
}

/** Throws what R2 throws; what is gone already is no fault. */
export const deleteArchives = async (bucket: R2Bucket, instance: string, names: readonly string[]): Promise<void> => {
  if (names.length > 0) await bucket.delete(names.map((name) => keyOf(instance, name)))
}
