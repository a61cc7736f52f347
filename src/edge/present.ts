import { artifactKey } from '../contract/ids.ts'
import type { AnyJob, JobOutput, JobRecord, ShownOutput } from '../contract/job.ts'
import { signArtifactPath } from '../storage/signed-url.ts'
import type { Context } from './context.ts'

/** The job as a client sees it: with links, and with URLs for its artifacts that work without a key for a while. */
export const presentJob = async (context: Context, record: JobRecord): Promise<AnyJob> => {
  const base = `${context.url.origin}/v1/instances/${record.instance}/jobs/${record.id}`
  const goneAt = record.artifacts_expire_at
  const areGone = goneAt !== null && Date.parse(goneAt) <= Date.now()
  return {
    ...record,
    output: record.output && (await presentOutput(context, record.instance, record.output, areGone)),
    urls: { get: base, cancel: `${base}/cancel`, replay: `${base}/replay`, events: `${base}/events` },
  }
}

/** `areGone`: what was stored has been trimmed. */
const presentOutput = async (
  context: Context,
  instance: string,
  output: JobOutput,
  areGone: boolean,
): Promise<ShownOutput> => {
  if (!('images' in output)) return output
  const images = await Promise.all(
    output.images.map(async (image) => ({
      ...image,
      url: areGone ? null : await artifactUrl(context, instance, image.artifact),
    })),
  )
  return { ...output, images }
}

export const artifactUrl = async (context: Context, instance: string, artifact: string): Promise<string | null> => {
  const publicBase = context.env.PUBLIC_ARTIFACT_BASE_URL
  const key = artifactKey(instance, artifact)
  if (key === null) return null
  if (publicBase) return `${publicBase.replace(/\/+$/, '')}/${key}`
  return context.url.origin + (await signArtifactPath(context.env.MASTER_KEY, instance, artifact, Date.now()))
}
