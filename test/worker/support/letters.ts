import type { Job } from '../../../src/contract/job.ts'
import { must, type Site } from './client.ts'
import { type FakeIdeogram, failing } from './fake-ideogram.ts'

/** Jobs that have failed for good, one after the other: the provider refuses each. Other jobs must not run meanwhile. */
export const failJobs = async (
  site: Site,
  provider: FakeIdeogram,
  count: number,
  more: Record<string, unknown> = {},
  status = 400,
): Promise<Job[]> => {
  const jobs: Job[] = []
  for (let i = 0; i < count; i += 1) {
    provider.next.generate.push(failing(status))
    const job = await site.ended((await site.begin(more)).id)
    if (job.status !== 'failed') throw new Error(`the job was to fail: ${JSON.stringify(job)}`)
    jobs.push(job)
  }
  return jobs
}

export type Letters = {
  data: Job[]
  next: string | null
  summary?: { total: number; codes: Record<string, number>; complete: boolean }
}
export const letters = async (site: Site, query = ''): Promise<Letters> =>
  (await must(200, site.send<Letters>('GET', `/dead-letters${query}`))).body
export const idsOf = async (site: Site, query = ''): Promise<string[]> =>
  (await letters(site, query)).data.map(({ id }) => id)
