import type { Client } from '../../src/cli/client.ts'
import type { Job } from '../../src/contract/job.ts'
import { api, neverSay } from './harness.ts'

/** An instance ready for image jobs, with a user's key. */
export type Ready = { instance: string; base: string; root: Client; user: Client; key: string }

let made = 0

export const provision = async (
  url: string,
  provider: { baseUrl: string; limits?: Record<string, number>; secret?: string },
): Promise<Ready> => {
  made += 1
  const instance = `e2e-${made}`
  const base = `/v1/instances/${instance}`
  const root = api(url)
  await root.ask('POST', '/v1/instances', { id: instance })
  await root.ask('PUT', `${base}/providers/ideogram`, {
    base_url: provider.baseUrl,
    ...(provider.limits ? { limits: provider.limits } : {}),
  })
  await root.ask('POST', `${base}/providers/ideogram/credentials`, {
    name: 'main',
    secret: neverSay(provider.secret ?? 'ideogram-secret-of-the-tests'),
  })
  const { key } = await root.ask<{ key: string }>('POST', `${base}/keys`, { name: 'app', role: 'user' })
  return { instance, base, root, user: root.withKey(neverSay(key)), key }
}

export const imageJob = (prompt: string, more: Record<string, unknown> = {}, input: Record<string, unknown> = {}) => ({
  type: 'image.generate',
  models: ['ideogram/ideogram-3'],
  input: { prompt: neverSay(prompt), ...input },
  ...more,
})

/** Asks until the condition holds. The bound is for a machine under load; what is waited for ends the wait. */
export const until = async <T>(
  probe: () => Promise<T> | T,
  holds: (value: T) => boolean,
  withinMs = 60_000,
): Promise<T> => {
  const end = Date.now() + withinMs
  for (;;) {
    const value = await probe()
    if (holds(value)) return value
    if (Date.now() > end)
      throw new Error(`not within ${withinMs} ms; last seen: ${JSON.stringify(value).slice(0, 500)}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

export const allJobs = async (user: Client, base: string): Promise<Job[]> => {
  const jobs: Job[] = []
  for (let after: string | null = ''; after !== null; ) {
    const page: { data: Job[]; next: string | null } = await user.ask(
      'GET',
      `${base}/jobs?limit=100${after ? `&after=${after}` : ''}`,
    )
    jobs.push(...page.data)
    after = page.next
  }
  return jobs
}

export const isOver = (job: Job): boolean => ['succeeded', 'failed', 'canceled'].includes(job.status)
