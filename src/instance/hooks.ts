import { fault, ok, type Result } from '../contract/fault.ts'
import type { AttemptRef } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import { splitSecret } from '../providers/cloudflare-gateway.ts'
import { throughGateway } from '../providers/gateway-images.ts'
import { createHttp } from '../providers/http.ts'
import { providerOf } from '../providers/registry.ts'
import type { Books, ProviderSetup } from './books.ts'
import { type CredentialRow, sealOf } from './credential-store.ts'
import type { Vault } from './vault.ts'

/** A provider's delivery: headers as pairs, the body as it came, and the attempt that its URL names. */
export type Delivery = { provider: string; headers: [string, string][]; body: string; attempt: AttemptRef }

/** Like an unknown path: a stranger learns nothing, not even that the instance exists. */
export const notOurs = () => ({ ok: false as const, fault: fault('not_found', 'There is nothing at this path.') })

/**
 * Verifies deliveries by the provider's signature. The signing secrets belong to the accounts behind the credentials; they
 * are fetched when first needed and kept in memory.
 */
export class Hooks {
  readonly #books: Books
  readonly #vault: Vault
  readonly #allowPrivate: boolean
  readonly #secrets = new Map<string, string>()

  constructor(books: Books, vault: Vault, allowPrivate: boolean) {
    this.#books = books
    this.#vault = vault
    this.#allowPrivate = allowPrivate
  }

  async verify(delivery: Delivery, now: number): Promise<Result<null>> {
    const { webhook } = providerOf(delivery.provider) ?? {}
    const setup = this.#books.setups.get(delivery.provider)
    if (!webhook || !setup) return notOurs()
    const headers = new Headers(delivery.headers)
    if (!headers.has('webhook-id') || !headers.has('webhook-signature')) return notOurs()
    for (const credential of [...setup.credentials, ...setup.retired]) {
      const secret = await this.#secretOf(credential, setup, webhook, now)
      if (secret !== null && (await webhook.verify(headers, delivery.body, secret, now))) return ok(null)
    }
    return notOurs()
  }

  async #secretOf(
    credential: CredentialRow,
    { id, baseUrl, route }: ProviderSetup,
    webhook: NonNullable<NonNullable<ReturnType<typeof providerOf>>['webhook']>,
    nowMs: number,
  ): Promise<string | null> {
    const name = this.#books.credentialName(credential.provider, credential.name)
    const known = this.#secrets.get(`${name} ${credential.ciphertext}`)
    if (known) return known
    const sealed = await this.#vault.open(sealOf(credential), name)
    if (sealed === null) return null
    const { token, secret: plain } = splitSecret(sealed)
    const http = createHttp({ timeoutMs: LIMITS.cancelTimeoutMs, allowPrivate: this.#allowPrivate })
    const passage = { provider: id, token, cache: false }
    const routed = route?.type === 'ai_gateway' ? throughGateway(passage, { baseUrl, nowMs }, http).http : http
    const secret = await webhook.secret({ baseUrl, secret: plain }, routed)
    if (secret !== null) this.#secrets.set(`${name} ${credential.ciphertext}`, secret)
    return secret
  }
}
