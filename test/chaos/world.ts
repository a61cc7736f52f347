import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Client, createClient } from '../../src/cli/client.ts'
import { type Server, startServer } from '../../src/cli/server.ts'
import { type IdeogramEmulator, startIdeogram } from '../emulators/ideogram.ts'
import { type ReplicateEmulator, startReplicate } from '../emulators/replicate.ts'
import { FAULT_RATE, FAULTS, IDEOGRAM_FAULTS } from './faults.ts'
import { observeCreates, type SeenCreate } from './observer.ts'

/** The product as `npm start` runs it, and two providers that outlive it. */

const ROOT_KEY = 'root-key-of-the-chaos-0123456789abcdef'
const MASTER_KEY = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
const GOOD = ['good-one', 'good-two']
const REFUSED = 'refused'
export const BASE = '/v1/instances/chaos'
export const PROVIDERS = ['ideogram', 'replicate'] as const
export type ProviderId = (typeof PROVIDERS)[number]
export type Limits = { concurrency: number; requests_per_minute: number }

/** ms since the epoch. */
export type Crash = { killedAt: number; readyAt: number }

export type World = {
  ideogram: IdeogramEmulator
  replicate: ReplicateEmulator
  creates: SeenCreate[]
  root(): Client
  user(): Client
  /** `kill -9` of the product and its runtime, and a start on the same state. */
  crash(): Promise<void>
  crashes: Crash[]
  output(): string
  close(): Promise<void>
}

export const openWorld = async (seed: number, limits: Record<ProviderId, Limits>): Promise<World> => {
  const observer = observeCreates()
  const ideogram = await startIdeogram({ apiKeys: GOOD, latencyMs: 300, maxInflight: 10_000, draw: false })
  const replicate = await startReplicate({ apiKeys: GOOD, latencyMs: 300, createsPerMinute: 1_000_000, draw: false })
  ideogram.control({ faultRate: FAULT_RATE, faults: IDEOGRAM_FAULTS, seed, latencyJitterMs: 400 })
  replicate.control({
    faultRate: FAULT_RATE,
    faults: FAULTS,
    seed: seed + 1,
    latencyJitterMs: 400,
    requestsPerMinute: 1_000_000,
  })
  const state = mkdtempSync(join(tmpdir(), 'switchyard-chaos-'))
  const start = (): Promise<Server> =>
    startServer({ STATE: state, ROOT_KEY, MASTER_KEY, ALLOW_PRIVATE_UPSTREAMS: 'true' })
  let product = await start()
  let printed = ''
  const crashes: Crash[] = []
  const root = (): Client => createClient(product.url, ROOT_KEY)
  const key = await provision(root(), { ideogram: ideogram.url, replicate: `${replicate.url}/v1` }, limits)
  return {
    ideogram,
    replicate,
    creates: observer.creates,
    root,
    user: () => createClient(product.url, key),
    crashes,
    crash: async () => {
      const killedAt = Date.now()
      await product.kill9()
      printed += product.output()
      product = await start()
      crashes.push({ killedAt, readyAt: Date.now() })
    },
    output: () => printed + product.output(),
    close: async () => {
      await product.stop()
      observer.stop()
      await Promise.all([ideogram.close(), replicate.close()])
      rmSync(state, { recursive: true, force: true })
    },
  }
}

const provision = async (
  root: Client,
  urls: Record<ProviderId, string>,
  limits: Record<ProviderId, Limits>,
): Promise<string> => {
  await root.ask('POST', '/v1/instances', { id: 'chaos' })
  for (const provider of PROVIDERS) {
    const path = `${BASE}/providers/${provider}`
    // A short timeout: a provider that stalls is to be given up many times in one run.
    await root.ask('PUT', path, { base_url: urls[provider], limits: limits[provider], timeout_ms: 8_000 })
    for (const secret of [...GOOD, REFUSED]) await root.ask('POST', `${path}/credentials`, { name: secret, secret })
  }
  const { key } = await root.ask<{ key: string }>('POST', `${BASE}/keys`, { name: 'app', role: 'user' })
  return key
}
