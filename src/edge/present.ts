import { artifactKey } from '../contract/ids.ts'
import type { Job, JobRecord } from '../contract/job.ts'
import { signArtifactPath } from '../storage/signed-url.ts'
import type { Context } from './context.ts'

/** The job as a client sees it: with links, and with URLs for its artifacts that work without a key for a while. */
export const presentJob = async (context: Context, record: JobRecord): Promise<Job> => {
  const base = `${context.url.origin}/v1/instances/${record.instance}/jobs/${record.id}`
  const images = record.output?.images ?? []
  const goneAt = record.artifacts_expire_at
  const areGone = goneAt !== null && Date.parse(goneAt) <= Date.now()
  return {
    ...record,
    output: record.output && {
      ...record.output,
      images: await Promise.all(
        images.map(async (image) => ({
          ...image,
          url: areGone ? null : await artifactUrl(context, record.instance, image.artifact),
        })),
      ),
    },
    urls: { get: base, cancel: `${base}/cancel`, replay: `${base}/replay`, events: `${base}/events` },
  }
}

const artifactUrl = async (context: Context, instance: string, artifact: string): Promise<string | null> => {
  const publicBase = context.env.PUBLIC_ARTIFACT_BASE_URL
  const key = artifactKey(instance, artifact)
  if (key === null) return null
  if (publicBase) return `${publicBase.replace(/\/+$/, '')}/${key}`
  return context.url.origin + (await signArtifactPath(context.env.MASTER_KEY, instance, artifact, Date.now()))
}
