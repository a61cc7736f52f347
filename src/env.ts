import type { Instance } from './instance/instance.ts'
import type { Lane } from './job/lane.ts'
import type { AiBinding } from './providers/binding-call.ts'

/** The bindings of wrangler.toml. */
export type Env = {
  INSTANCE: DurableObjectNamespace<Instance>
  LANE: DurableObjectNamespace<Lane>
  DIRECTORY: D1Database
  ARTIFACTS: R2Bucket
  CORS_ORIGINS: string
  PUBLIC_ARTIFACT_BASE_URL: string
  ALLOW_PRIVATE_UPSTREAMS: string
  /** Where providers reach this deployment, for their webhooks; empty: they are only polled. */
  PUBLIC_BASE_URL?: string
  /** Shield against floods of bad keys: per client address. */
  BAD_KEYS: RateLimit
  /** Workers AI, in staging and production: there is no local one. */
  AI?: AiBinding
  ROOT_KEY: string
  MASTER_KEY: string
  CF_VERSION_METADATA?: WorkerVersionMetadata
}
