import { LIMITS } from '../limits.ts'

/** A stored picture as its listing tells it: no more is read of it. */
export type StoredObject = { key: string; job: string; storedAtMs: number }

/** Keys of an instance's pictures behind one, in the order of their jobs' ids. Throws what R2 throws. */
export const listArtifacts = async (
  bucket: R2Bucket,
  instance: string,
  after: string | null,
): Promise<{ objects: StoredObject[]; more: boolean }> => {
  const prefix = `${instance}/`
  const page = await bucket.list({
    prefix: `${prefix}job_`,
    limit: LIMITS.deleteKeysPerStep,
    ...(after === null ? {} : { startAfter: after }),
  })
  const objects = page.objects.map(({ key, uploaded }) => ({
    key,
    job: key.slice(prefix.length).split('/')[0] ?? '',
    storedAtMs: uploaded.getTime(),
  }))
  return { objects, more: page.truncated }
}

/** Throws what R2 throws; what is gone already is no fault. */
export const deleteObjects = async (bucket: R2Bucket, keys: readonly string[]): Promise<void> => {
  if (keys.length > 0) await bucket.delete([...keys])
}
