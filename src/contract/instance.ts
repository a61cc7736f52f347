import * as v from 'valibot'
import { LIMITS } from '../limits.ts'
import { BudgetPolicy } from './budget.ts'
import { CredentialLimits, CredentialLive, CredentialUsage } from './credential.ts'
import { integer, ModelName, Name, record, strictObject, Timestamp, TimeZone } from './fields.ts'
import { InstanceId } from './ids.ts'
import { ImageChecks } from './image.ts'
import { RetentionConfig } from './retention.ts'
import { Route } from './route.ts'

/** Administration: instances, API keys, providers, credentials. */

const DefaultModels = v.pipe(v.array(ModelName), v.minLength(1), v.maxLength(LIMITS.modelsPerJob))

export const InstanceConfig = strictObject({
  /** Model for a node type where a job names none. */
  default_models: v.optional(
    strictObject({
      'image.generate': v.optional(DefaultModels),
      'text.generate': v.optional(DefaultModels),
      'text.embed': v.optional(DefaultModels),
    }),
  ),
  /** Checks of a job's pictures where its input names none. */
  default_checks: v.optional(strictObject({ 'image.generate': v.optional(ImageChecks) })),
  /** Shares of projects within a priority; 1 where a project has none. */
  project_weights: v.optional(
    v.pipe(
      record(Name, integer(1, LIMITS.projectWeightMax)),
      v.check(
        (weights) => Object.keys(weights).length <= LIMITS.projectsWeighted,
        `must name at most ${LIMITS.projectsWeighted} projects`,
      ),
    ),
  ),
  prices: v.optional(
    strictObject({
      /** Whether listed prices that nobody has confirmed may be billed; otherwise they count as unknown. */
      allow_unverified: v.optional(v.boolean('must be true or false')),
    }),
  ),
  /** Jobs that may wait at once. */
  queue_bound: v.optional(integer(1, LIMITS.queueDefault)),
  /** IANA name; the calendar of budgets. UTC without one. */
  time_zone: v.optional(TimeZone),
  budget: v.optional(BudgetPolicy),
  /** How long what is over is kept; null: the defaults. */
  retention: v.optional(v.nullable(RetentionConfig)),
})
export type InstanceConfig = v.InferOutput<typeof InstanceConfig>

export const InstanceRequest = strictObject({
  id: InstanceId,
  organization: v.optional(v.nullable(Name)),
  config: v.optional(InstanceConfig),
})
export const InstancePatch = strictObject({ config: InstanceConfig })

export const Instance = v.object({
  id: v.string(),
  object: v.literal('instance'),
  organization: v.nullable(v.string()),
  config: InstanceConfig,
  created_at: v.string(),
})
export type Instance = v.InferOutput<typeof Instance>

export const ROLES = ['admin', 'user'] as const
/** What a key may do. `jobs` submits and cancels, `read` sees jobs, events and artifacts, `admin` configures the instance. */
export const SCOPES = ['jobs', 'read', 'admin'] as const
export type Scope = (typeof SCOPES)[number]

export const KeyRequest = v.pipe(
  strictObject({
    name: Name,
    role: v.picklist(ROLES, 'must be admin or user'),
    project: v.optional(v.nullable(Name)),
    scopes: v.optional(
      v.pipe(
        v.array(v.picklist(SCOPES, `must be one of ${SCOPES.join(', ')}`)),
        v.minLength(1),
        v.maxLength(SCOPES.length),
      ),
    ),
    expires_at: v.optional(v.nullable(Timestamp)),
  }),
  v.forward(
    v.check(
      (key) => key.role === 'admin' || !key.scopes?.includes('admin'),
      'the role user cannot hold the scope admin',
    ),
    ['scopes'],
  ),
  v.forward(
    v.check(
      (key) => !key.project || !(key.scopes ?? (key.role === 'admin' ? ['admin'] : [])).includes('admin'),
      'a key of one project cannot hold the scope admin: name its scopes',
    ),
    ['project'],
  ),
)
export type KeyRequest = v.InferOutput<typeof KeyRequest>

export const ApiKey = v.object({
  id: v.string(),
  name: v.string(),
  role: v.picklist(ROLES),
  project: v.nullable(v.string()),
  scopes: v.array(v.picklist(SCOPES)),
  created_at: v.string(),
  expires_at: v.nullable(v.string()),
})
export type ApiKey = v.InferOutput<typeof ApiKey>
/** Returned once, by the call that made it. */
export const NewApiKey = v.object({ ...ApiKey.entries, key: v.string() })

export const ProviderLimits = strictObject({
  requests_per_minute: v.optional(v.nullable(integer(1, LIMITS.requestsPerMinuteMax))),
  tokens_per_minute: v.optional(v.nullable(integer(1, LIMITS.tokensPerMinuteMax))),
  concurrency: v.optional(integer(1, LIMITS.concurrencyMax)),
  requests_per_day: v.optional(v.nullable(integer(1, LIMITS.requestsPerDayMax))),
})
export type ProviderLimits = v.InferOutput<typeof ProviderLimits>

const MODEL_OF_PROVIDER = /^[A-Za-z0-9][A-Za-z0-9._:/-]*$/

export const ProviderRequest = strictObject({
  enabled: v.optional(v.boolean('must be true or false')),
  base_url: v.optional(v.nullable(v.pipe(v.string(), v.maxLength(LIMITS.urlFieldCharacters), v.url('must be a URL')))),
  /** In the place of `base_url`; null goes straight again. */
  route: v.optional(v.nullable(Route)),
  limits: v.optional(ProviderLimits),
  /** Limits of single models, beside those of the provider: a call needs room in both. */
  models: v.optional(
    v.pipe(
      record(
        v.pipe(v.string(), v.maxLength(128), v.regex(MODEL_OF_PROVIDER, 'must be the name of a model')),
        strictObject({ limits: ProviderLimits }),
      ),
      v.check(
        (models) => Object.keys(models).length <= LIMITS.modelsPerProvider,
        `must name at most ${LIMITS.modelsPerProvider} models`,
      ),
    ),
  ),
  timeout_ms: v.optional(integer(1_000, LIMITS.providerTimeoutMaxMs)),
})
export type ProviderRequest = v.InferOutput<typeof ProviderRequest>

const BreakerView = v.object({
  state: v.picklist(['closed', 'open', 'half_open']),
  failures: v.number(),
  until: v.nullable(v.string()),
})

/** A model that is narrower than its provider, where the provider counts by model. */
const NarrowedModel = v.object({
  /** `provider/model`, as jobs name it. */
  model: v.string(),
  /** With which credential; null: with all. */
  credential: v.nullable(v.string()),
  /** As in `queue.limit` of a job that waits for it. */
  limit: v.string(),
  /** Of the tightest limits that are configured for its calls. */
  share: v.number(),
  running: v.number(),
  /** What is in force; null without such a limit. */
  concurrency: v.nullable(v.number()),
  requests_per_minute: v.nullable(v.number()),
  tokens_per_minute: v.nullable(v.number()),
  next_request_at: v.nullable(v.string()),
})

export const ProviderView = v.object({
  id: v.string(),
  object: v.literal('provider'),
  title: v.string(),
  enabled: v.boolean(),
  /** Where calls go, by the route if there is one; null where they have no address. */
  base_url: v.nullable(v.string()),
  route: v.nullable(Route),
  limits: ProviderLimits,
  timeout_ms: v.number(),
  /** `instance:{instance}:provider:{provider}`: the name under which limits are kept and shown. */
  limit: v.string(),
  models: v.record(v.string(), v.object({ limits: ProviderLimits })),
  live: v.object({ running: v.number(), queued: v.number(), next_request_at: v.nullable(v.string()) }),
  breaker: BreakerView,
  /** How much of the configured limits is in force: narrowed by "too fast", widened by success. */
  adaptive: v.object({
    share: v.number(),
    concurrency: v.number(),
    requests_per_minute: v.nullable(v.number()),
    models: v.array(NarrowedModel),
  }),
  /** This instance's own attempts: the last of each model. */
  health: v.record(
    v.string(),
    v.object({ success_rate: v.number(), p50_ms: v.nullable(v.number()), attempts: v.number() }),
  ),
  credentials: v.number(),
})
export type ProviderView = v.InferOutput<typeof ProviderView>

export const CredentialRequest = strictObject({
  name: Name,
  secret: v.pipe(
    v.string(),
    v.minLength(1, 'must not be empty'),
    v.maxLength(LIMITS.secretCharacters, `must be at most ${LIMITS.secretCharacters} characters`),
    v.regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces, since it travels in a header'),
  ),
  weight: v.optional(integer(0, 1_000)),
  limits: v.optional(CredentialLimits),
})
export const CredentialPatch = strictObject({
  secret: v.optional(CredentialRequest.entries.secret),
  weight: v.optional(integer(0, 1_000)),
  enabled: v.optional(v.boolean('must be true or false')),
  limits: v.optional(CredentialLimits),
})
/** What `CredentialPatch` checks, as it crosses RPC. */
export type CredentialChange = v.InferOutput<typeof CredentialPatch>

export const Credential = v.object({
  name: v.string(),
  provider: v.string(),
  weight: v.number(),
  enabled: v.boolean(),
  /** Why Switchyard switched it off, or null. Enabling it again clears this. */
  disabled_reason: v.nullable(v.string()),
  breaker: BreakerView,
  limits: CredentialLimits,
  live: CredentialLive,
  usage: CredentialUsage,
  /** Id of the master key under which the secret is sealed. */
  key_id: v.string(),
  /** Last four characters of the secret, or null where it is too short to show any. */
  hint: v.nullable(v.string()),
  created_at: v.string(),
  updated_at: v.string(),
})
export type Credential = v.InferOutput<typeof Credential>

export const Ticket = v.object({ ticket: v.string(), expires_at: v.string() })
export type Ticket = v.InferOutput<typeof Ticket>
