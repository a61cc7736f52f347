import { artifactKey } from '../contract/ids.ts'
import type { AnyJob, JobOutput, JobRecord, ShownOutput } from '../contract/job.ts'
import { fromWire, type Wire } from '../contract/rpc.ts'
import { signArtifactPath } from '../storage/signed-url.ts'
import type { Context } from './context.ts'

/** The job as a client sees it: with links, and with URLs for its artifacts that work without a key for a while. */
export const presentJob = async (context: Context, record: JobRecord): Promise<AnyJob> => {
  const goneAt = record.artifacts_expire_at
  const areGone = goneAt !== null && Date.parse(goneAt) <= Date.now()
  return {
    ...record,
    output: record.output && (await presentOutput(context, record.instance, record.output, areGone)),
    urls: urlsOf(jobUrl(context, record.instance, record.id)),
  }
}

/**
 * The same as JSON text. A record that holds no artifacts is passed on as it came, with the links behind what it says: it is
 * neither parsed nor written anew.
 */
export const presentJobText = async (context: Context, id: string, record: Wire<JobRecord>): Promise<string> => {
  if (record.includes(ARTIFACT_KEY)) return JSON.stringify(await presentJob(context, fromWire(record)))
  const urls = urlsOf(jobUrl(context, context.params['instance'] ?? '', id))
  return `${record.slice(0, -1)},"urls":${JSON.stringify(urls)}}`
}

/** As JSON writes it: within a string its quotes would be escaped. */
const ARTIFACT_KEY = '"artifact":'

export const jobUrl = (context: Context, instance: string, id: string): string =>
  `${context.url.origin}/v1/instances/${instance}/jobs/${id}`

const urlsOf = (job: string): AnyJob['urls'] => ({
  get: job,
  cancel: `${job}/cancel`,
  replay: `${job}/replay`,
  events: `${job}/events`,
})

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
