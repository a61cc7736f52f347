import { NOT_HERE_MESSAGE, ok, type Result, refuse } from '../contract/fault.ts'
import type { Scope } from '../contract/instance.ts'
import type { Caller } from '../contract/rpc.ts'
import { equalConstantTime } from '../storage/digest.ts'
import type { AdminStore, KeyRow } from './admin-store.ts'

/** Who calls, once known. A key of one project sees that project and nothing else. */
export type Principal = {
  keyId: string | null
  project: string | null
  scopes: readonly Scope[]
  expiresAtMs: number | null
}

const ROOT: Principal = { keyId: null, project: null, scopes: ['jobs', 'read', 'admin'], expiresAtMs: null }

/** A digest of the right length that no secret has: an unknown key costs the same comparison as a wrong one. */
const NO_DIGEST = '0'.repeat(64)

/** The API keys of the instance, in memory, so that authentication reads nothing. */
export class Access {
  readonly #keys = new Map<string, KeyRow>()

  reload(admin: AdminStore): void {
    this.#keys.clear()
    for (const key of admin.keys()) this.#keys.set(key.id, key)
  }

  /** `not_found` without any right here, whatever the reason; `permission_denied` where only this right is missing. */
  check(caller: Caller, scope: Scope, now: number): Result<Principal> {
    const principal = caller.auth.kind === 'root' ? ROOT : this.#authenticate(caller.auth.id, caller.auth.digest, now)
    if (!principal) return notHere()
    if (!principal.scopes.includes(scope))
      return refuse('permission_denied', `This key does not hold the scope "${scope}".`)
    return ok(principal)
  }

  /** The principal of a ticket's key, as long as the key stands. */
  principalOf(keyId: string | null, now: number): Principal | null {
    if (keyId === null) return ROOT
    const key = this.#keys.get(keyId)
    return key && isGood(key, now) ? principal(key) : null
  }

  list(): KeyRow[] {
    return [...this.#keys.values()]
  }

  #authenticate(id: string, digest: string, now: number): Principal | null {
    const key = this.#keys.get(id)
    const same = equalConstantTime(digest, key?.digest ?? NO_DIGEST)
    return key && same && isGood(key, now) ? principal(key) : null
  }
}

/** The project of what is asked for: as it names it, or the key's own. A key of one project asks for no other. */
export const projectFor = ({ project: own }: Principal, asked: string | null | undefined): Result<string | null> => {
  const project = asked ?? own
  return own === null || project === own ? ok(project) : otherProject()
}

export const otherProject = () => refuse('permission_denied', 'This key is of another project.', { param: 'project' })

export const notHere = () => refuse('not_found', NOT_HERE_MESSAGE)

const isGood = (key: KeyRow, now: number): boolean => key.expires_at_ms === null || key.expires_at_ms > now

const principal = (key: KeyRow): Principal => ({
  keyId: key.id,
  project: key.project,
  scopes: key.scopes,
  expiresAtMs: key.expires_at_ms,
})
