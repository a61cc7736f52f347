import type { TextProvider } from './dialect.ts'
import type { Provider } from './provider.ts'
import { PROVIDERS } from './registry.ts'
import { TEXT_PROVIDERS } from './text-registry.ts'

/** A provider as far as an instance configures it: whatever it makes, it has one address, one set of limits and one account. */
export type Upstream = Pick<Provider, 'id' | 'title' | 'defaultBaseUrl' | 'defaultLimits' | 'countsBy'> & {
  /** Providers of pictures all do. */
  needsSecret?: boolean
}

/** Every provider once, also one that makes pictures and text. */
export const UPSTREAMS: readonly Upstream[] = [
  ...PROVIDERS,
  ...TEXT_PROVIDERS.filter((text: TextProvider) => !PROVIDERS.some(({ id }) => id === text.id)),
]

export const upstreamOf = (id: string): Upstream | null => UPSTREAMS.find((upstream) => upstream.id === id) ?? null
