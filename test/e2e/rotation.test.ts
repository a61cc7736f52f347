import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { globSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import type { Client } from '../../src/cli/client.ts'
import { ROOT } from '../../src/cli/command.ts'
import type { Sealing } from '../../src/contract/credential.ts'
import type { Credential } from '../../src/contract/instance.ts'
import { api, freshState, MASTER_KEY, neverSay, ROOT_KEY, startEmulator, startProduct } from './harness.ts'
import { allJobs, imageJob, isOver, provision, until } from './support.ts'

const OLD = neverSay('old-provider-secret-of-the-rotation-1111')
const NEW = neverSay('new-provider-secret-of-the-rotation-2222')
const SECOND = neverSay('second-account-secret-of-the-rotation-3333')
const NEW_MASTER_KEY = neverSay(randomBytes(32).toString('base64'))
const run = promisify(execFile)
const JOBS = 240
/** Jobs that wait or run at any time: the load goes on while things are changed. */
const AHEAD = 40

const filesWith = (state: string, secrets: string[]): string[] =>
  globSync(join(state, '**/*')).filter((path) => {
    const bytes = bytesOf(path)
    return secrets.some((secret) => bytes.includes(secret))
  })

/** While the product runs, files come and go between the listing and the reading. */
const bytesOf = (path: string): Buffer => {
  try {
    return statSync(path).isFile() ? readFileSync(path) : Buffer.alloc(0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Buffer.alloc(0)
    throw error
  }
}

test('secrets and the master key are rotated under load: no job fails for it, and no plain secret lies on disk', {
  timeout: 240_000,
}, async () => {
  const emulator = await startEmulator({ draw: false, latencyMs: 300, maxInflight: 12, apiKeys: [OLD] })
  emulator.control({ accounts: { [OLD]: 'first', [NEW]: 'first' }, latencyJitterMs: 300 })
  const state = freshState()
  const first = await startProduct({ state })
  const limits = { concurrency: 12 }
  const { base, key } = await provision(first.url, { baseUrl: emulator.url, secret: OLD, limits })
  const credentials = `${base}/providers/ideogram/credentials`
  let submitted = 0
  /** Submits so that there is always work ahead, until that many were accepted by the provider. */
  const loadUntil = async (user: Client, accepted: number): Promise<void> => {
    while (emulator.stats().accepted < accepted) {
      const ahead = submitted - emulator.stats().accepted
      const more = Math.min(JOBS - submitted, Math.max(0, AHEAD - ahead))
      // A restart in itself may lose the answer of a call: that is not what is tested here.
      const wishes = { on_outcome_unknown: 'retry', max_attempts: 10, fallback: false }
      await Promise.all(
        Array.from({ length: more }, (_, i) =>
          user.ask('POST', `${base}/jobs`, imageJob(`rotation ${submitted + i}`, wishes)),
        ),
      )
      submitted += more
      await until(
        () => emulator.stats().accepted,
        (count) => count >= (submitted === JOBS ? accepted : Math.min(accepted, submitted - AHEAD / 2)),
      )
    }
  }
  const allSecrets = [OLD, NEW, SECOND, MASTER_KEY, NEW_MASTER_KEY]

  const [root, user] = [api(first.url), api(first.url, key)]
  await loadUntil(user, 30)
  emulator.control({ apiKeys: [OLD, NEW] })
  await root.ask('PATCH', `${credentials}/main`, { secret: NEW })
  emulator.control({ apiKeys: [NEW, SECOND] })
  await loadUntil(user, 70)
  await root.ask('POST', credentials, { name: 'second', secret: SECOND, limits: { concurrency: 6 } })
  await until(
    () => emulator.stats().perKey[SECOND] ?? 0,
    (calls) => calls > 0,
  )
  await loadUntil(user, 110)
  expect((await root.ask<{ data: Credential[] }>('GET', credentials)).data).toMatchObject([
    { name: 'main', enabled: true },
    { name: 'second', enabled: true },
  ])
  await root.ask('DELETE', `${credentials}/second`)
  await loadUntil(user, 140)
  expect(filesWith(state, allSecrets)).toEqual([])
  await first.stop()

  const both = await startProduct({ state, env: { MASTER_KEY: `${NEW_MASTER_KEY},${MASTER_KEY}` } })
  await loadUntil(api(both.url, key), 170)
  const reseal = join(ROOT, 'src/cli/reseal.ts')
  const { stdout } = await run(process.execPath, [reseal, both.url], { env: { ...process.env, ROOT_KEY } })
  expect(stdout).toContain('No instance needs an older key')
  const sealing = await api(both.url).ask<Sealing>('GET', `${base}/sealing`)
  expect(sealing.complete).toBe(true)
  expect(sealing).toMatchObject({ waiting: 0, unopenable: 0, lanes_waiting: 0, resealed: sealing.total })
  await both.stop()

  const alone = await startProduct({ state, env: { MASTER_KEY: NEW_MASTER_KEY } })
  await loadUntil(api(alone.url, key), JOBS)
  const jobs = await until(
    () => allJobs(api(alone.url, key), base),
    (all) => all.length === JOBS && all.every(isOver),
    120_000,
  )
  expect(jobs.filter((job) => job.status !== 'succeeded').map((job) => [job.id, job.error])).toEqual([])

  const watching = await api(alone.url).subscribe(`${base}/events?after=0`)
  const last = (await watching.until((event) => event.type === 'job.succeeded' && event.seq >= 3 * JOBS)).seq
  expect(watching.events.filter((event) => event.seq <= last && event.type === 'credential.disabled')).toEqual([])
  await watching.close()
  expect((await api(alone.url).ask<{ data: Credential[] }>('GET', credentials)).data).toMatchObject([
    { name: 'main', enabled: true, key_id: sealing.key_id, usage: { attempts: expect.any(Number) } },
  ])
  const { perKey } = emulator.stats()
  for (const secret of [OLD, NEW, SECOND]) expect(perKey[secret]).toBeGreaterThan(0)
  expect(filesWith(state, allSecrets)).toEqual([])
  await alone.stop()
  expect(filesWith(state, allSecrets)).toEqual([])
})
