import { ok, type Result, refuse } from '../contract/fault.ts'
import type {
  ApiKey,
  Credential,
  CredentialChange,
  KeyRequest,
  ProviderRequest,
  ProviderView,
  Scope,
} from '../contract/instance.ts'
import { limitInForce, readyAt, slotsOf } from '../core/admission.ts'
import { medianMs, successRate } from '../core/track-record.ts'
import { LIMITS } from '../limits.ts'
import { upstreamOf } from '../providers/upstreams.ts'
import type { AdminStore } from './admin-store.ts'
import type { Books } from './books.ts'
import type { CredentialRow } from './credential-store.ts'
import type { Credentials } from './credentials.ts'
import { type Deployment, reachOf } from './provider-reach.ts'
import { SEALED_WITH } from './sealing.ts'
import { hintOf, type Sealed } from './vault.ts'
import { breakerView, credentialView, isoTime, keyView, narrowedModels } from './views.ts'

/** Keys, providers and credentials of the instance: what the books and the access list are made from. Runs in a transaction. */
export class Administration {
  readonly #admin: AdminStore
  readonly #books: Books
  readonly #credentials: Credentials

  constructor(admin: AdminStore, books: Books, credentials: Credentials) {
    this.#admin = admin
    this.#books = books
    this.#credentials = credentials
  }

  // ---------------------------------------------------------------------------------------------------- keys

  createKey(request: KeyRequest, id: string, digest: string, now: number): Result<ApiKey> {
    const keys = this.#admin.keys()
    if (keys.length >= LIMITS.keysPerInstance)
      return refuse('conflict', `An instance holds at most ${LIMITS.keysPerInstance} keys.`)
    if (keys.some((key) => key.name === request.name))
      return refuse('conflict', 'A key of this name exists.', { param: 'name' })
    const expiresAtMs = request.expires_at ? Date.parse(request.expires_at) : null
    if (expiresAtMs !== null && expiresAtMs <= now) {
      return refuse('invalid_request', 'expires_at must be in the future.', { param: 'expires_at' })
    }
    const scopes: Scope[] = request.scopes ?? (request.role === 'admin' ? ['jobs', 'read', 'admin'] : ['jobs', 'read'])
    const key = {
      id,
      name: request.name,
      role: request.role,
      project: request.project ?? null,
      scopes: [...new Set(scopes)],
      digest,
      created_at_ms: now,
      expires_at_ms: expiresAtMs,
    }
    this.#admin.insertKey(key)
    return ok(keyView(key))
  }

  deleteKey(id: string): Result<null> {
    if (!this.#admin.keys().some((key) => key.id === id)) return refuse('not_found', 'There is no such key.')
    this.#admin.deleteKey(id)
    return ok(null)
  }

  // ----------------------------------------------------------------------------------------------- providers

  configureProvider(id: string, request: ProviderRequest, where: Deployment, now: number): Result<ProviderView> {
    const setup = this.#books.setups.get(id)
    if (!setup) return noProvider(id)
    const existing = this.#admin.providers().find((row) => row.id === id)
    const reached = reachOf(id, request, existing, where)
    if (!reached.ok) return reached
    this.#admin.saveProvider({
      id,
      enabled: request.enabled ?? existing?.enabled ?? true,
      ...reached.value,
      limits: { ...existing?.limits, ...request.limits },
      models: request.models ?? existing?.models ?? {},
      timeout_ms: request.timeout_ms ?? existing?.timeout_ms ?? LIMITS.providerTimeoutMs,
      keyless:
        request.base_url === undefined
          ? (existing?.keyless ?? false)
          : request.base_url !== null && setup.credentials.length === 0,
    })
    this.#books.reconfigure(this.#admin, now)
    return this.provider(id, now)
  }

  provider(id: string, now: number): Result<ProviderView> {
    const setup = this.#books.setups.get(id)
    const title = upstreamOf(id)?.title
    if (!setup || !title) return noProvider(id)
    const [limiter] = this.#books.limiters(`${id}/`)
    if (!limiter) return noProvider(id)
    const next = readyAt(limiter, 1, now)
    const { share } = limiter.load.adaptive
    return ok({
      id,
      object: 'provider',
      title,
      enabled: setup.enabled,
      base_url: setup.route?.type === 'binding' ? null : setup.baseUrl,
      route: setup.route,
      limits: setup.limits,
      timeout_ms: setup.timeoutMs,
      models: setup.models,
      limit: this.#books.limiter(id),
      live: {
        running: limiter.load.running,
        queued: this.#books.live(id, 'queued') + this.#books.live(id, 'scheduled'),
        next_request_at: next > now ? isoTime(Math.ceil(next)) : null,
      },
      breaker: breakerView(this.#books.breaker(limiter.name)),
      adaptive: {
        share,
        concurrency: slotsOf(limiter),
        requests_per_minute: limitInForce(limiter, 'per_minute'),
        models: narrowedModels(this.#books, id, now),
      },
      health: this.#health(id),
      credentials: setup.credentials.length,
    })
  }

  #health(provider: string): ProviderView['health'] {
    const ours = [...this.#books.records].filter(([model]) => model.startsWith(`${provider}/`))
    return Object.fromEntries(
      ours.map(([model, record]) => [
        model,
        { success_rate: successRate(record), p50_ms: medianMs(record), attempts: record.outcomes.length },
      ]),
    )
  }

  // --------------------------------------------------------------------------------------------- credentials

  credentials(provider: string, now: number): Result<Credential[]> {
    const setup = this.#books.setups.get(provider)
    return setup ? ok(setup.credentials.map((row) => this.#credential(row, now))) : noProvider(provider)
  }

  /** `secret` is null where an existing one stays. */
  saveCredential(
    provider: string,
    name: string,
    change: Omit<CredentialChange, 'secret'> & { secret: { sealed: Sealed; plain: string } | null },
    mode: 'create' | 'update',
    origin: { now: number; requestId: string },
  ): Result<Credential> {
    const setup = this.#books.setups.get(provider)
    if (!setup) return noProvider(provider)
    const existing = this.#credentials.find(provider, name)
    if (mode === 'create' && existing)
      return refuse('conflict', 'A credential of this name exists: change it with PATCH.', { param: 'name' })
    if (mode === 'update' && !existing) return refuse('not_found', 'There is no such credential.')
    if (!existing && setup.credentials.length >= LIMITS.credentialsPerProvider) {
      return refuse('conflict', `A provider holds at most ${LIMITS.credentialsPerProvider} credentials.`)
    }
    const secret = change.secret ? this.#numbered(change.secret) : existing
    if (!secret) return refuse('invalid_request', 'A new credential needs a secret.', { param: 'secret' })
    const { hint, key_id, iv, ciphertext } = secret
    const row: CredentialRow = {
      provider,
      name,
      weight: change.weight ?? existing?.weight ?? 1,
      enabled: change.enabled ?? (change.secret ? true : (existing?.enabled ?? true)),
      disabled_reason: change.enabled || change.secret ? null : (existing?.disabled_reason ?? null),
      limits: { ...existing?.limits, ...change.limits },
      ...{ hint, key_id, iv, ciphertext, secret: secret.secret },
      created_at_ms: existing?.created_at_ms ?? origin.now,
      updated_at_ms: origin.now,
      retired_at_ms: null,
    }
    this.#admin.credentials.save(row)
    const called = this.#admin.providers().find(({ id }) => id === provider)
    // Who has been given a secret once is not called without: also not in the moment between an old one and a new one.
    if (called?.keyless) this.#admin.saveProvider({ ...called, keyless: false })
    this.#books.reconfigure(this.#admin, origin.now)
    if (change.enabled || change.secret) this.#credentials.mend(existing ?? row, origin.requestId)
    return ok(this.#credential(row, origin.now))
  }

  /** It serves no new call. Its secret is kept until the work under way in its account has ended. */
  deleteCredential(provider: string, name: string, now: number): Result<null> {
    const existing = this.#credentials.find(provider, name)
    if (!existing) return refuse('not_found', 'There is no such credential.')
    this.#admin.credentials.save({ ...existing, enabled: false, retired_at_ms: now })
    this.#books.configure(this.#admin)
    return ok(null)
  }

  #numbered({ sealed, plain }: { sealed: Sealed; plain: string }) {
    // Whoever holds an older secret is to be told of this one.
    if (this.#books.lanes.some((load) => load > 0)) this.#admin.setMeta(SEALED_WITH, '')
    return {
      key_id: sealed.keyId,
      iv: sealed.iv,
      ciphertext: sealed.ciphertext,
      hint: hintOf(plain),
      secret: this.#admin.credentials.nextSecret(),
    }
  }

  #credential(row: CredentialRow, now: number): Credential {
    const name = this.#books.credentialName(row.provider, row.name)
    const limiter = this.#books.credentialLimiter(row.provider, row.name)
    return credentialView(row, this.#books.breaker(name), limiter, this.#books.use(name), now)
  }
}

const noProvider = (id: string) => refuse('not_found', `There is no provider "${id}".`)
