import type { Upstream } from '../providers/upstreams.ts'
import type { ProviderRow } from './admin-store.ts'
import type { CredentialRow } from './credential-store.ts'

/**
 * What stands for a credential where calls need none: they go by the binding of this deployment, or to a server of one's own that
 * lets everybody in. It is picked, limited, cooled and judged like a credential, holds no secret, and is stored nowhere. No
 * credential can bear its name.
 */
const NAMES = { binding: '(binding)', open: '(none)' }

/** Null where a credential is needed. */
export const standInFor = (
  { id: provider, needsSecret = true }: Pick<Upstream, 'id' | 'needsSecret'>,
  { route, keyless }: Pick<ProviderRow, 'route' | 'keyless'>,
): CredentialRow | null => {
  if (route?.type === 'binding') return standIn(provider, NAMES.binding)
  return !needsSecret && route === null && keyless ? standIn(provider, NAMES.open) : null
}

const standIn = (provider: string, name: string): CredentialRow => ({
  provider,
  name,
  weight: 1,
  enabled: true,
  disabled_reason: null,
  hint: null,
  key_id: '',
  iv: '',
  ciphertext: '',
  limits: {},
  secret: 0,
  created_at_ms: 0,
  updated_at_ms: 0,
  retired_at_ms: null,
})

export const isStandIn = ({ name }: Pick<CredentialRow, 'name'>): boolean => Object.values(NAMES).includes(name)
