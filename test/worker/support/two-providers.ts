import type { ProviderLimits } from '../../../src/contract/instance.ts'
import { must, openSite, type Site, SYNC } from './client.ts'

/** Jobs that may run at either of two providers, of which the first takes one call at a time. */

export const FIRST = 'ideogram/ideogram-4'
export const OTHER = 'replicate/black-forest-labs/flux-schnell'
const input = { prompt: 'a lighthouse' }
/** One that waits may last for a day. */
export const EITHER = { models: [FIRST, OTHER], input, deadline_s: 86_400 }
export const ONLY_FIRST = { models: [FIRST], input: { ...input, ...SYNC } }
export const ONLY_OTHER = { models: [OTHER], input, max_attempts: 1 }

export const openTwo = async (limitsOfOther: ProviderLimits = {}): Promise<Site> => {
  const site = await openSite('prod', { limits: { concurrency: 1 } })
  const json = { name: 'main', secret: 'r8_secret' }
  await must(201, site.send('POST', '/providers/replicate/credentials', { json }))
  await must(200, site.send('PUT', '/providers/replicate', { json: { limits: limitsOfOther } }))
  return site
}

export const switchOffFirst = (site: Site) => site.send('PUT', '/providers/ideogram', { json: { enabled: false } })
