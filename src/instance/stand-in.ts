import type { CredentialRow } from './credential-store.ts'

/**
 * What stands for the account of this deployment where calls go by its binding. It is picked, limited, cooled and judged like
 * a credential, holds no secret, and is stored nowhere. No credential can bear its name.
 */
const NAME = '(binding)'

export const standIn = (provider: string): CredentialRow => ({
  provider,
  name: NAME,
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

export const isStandIn = ({ name }: Pick<CredentialRow, 'name'>): boolean => name === NAME
