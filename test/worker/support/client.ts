import { runInDurableObject } from 'cloudflare:test'
import { env, exports } from 'cloudflare:workers'
import type { ErrorBody } from '../../../src/contract/fault.ts'
import type { ApiKey, InstanceConfig, ProviderLimits } from '../../../src/contract/instance.ts'
import type { Job } from '../../../src/contract/job.ts'

/** A client of the Worker as the outside world sees it: HTTP in, HTTP out. */

export const ORIGIN = 'https://switchyard.example'
export const ROOT_KEY = env.ROOT_KEY
export const PROVIDER_SECRET = 'ideogram-secret-of-the-tests-0123456789-wxyz'

const worker = (exports as unknown as { default: Fetcher }).default

export type Answer<T> = { status: number; headers: Headers; text: string; body: T }

export type SendOptions = {
  /** Null sends no Authorization at all. */
  key?: string | null
  /** Sent as JSON. */
  json?: unknown
  /** Sent as it is. */
  raw?: BodyInit
  headers?: Record<string, string>
}

/** The answer as it came, its body unread. */
export const fetchWorker = (method: string, path: string, options: SendOptions = {}): Promise<Response> => {
  const headers = new Headers(options.key ? { authorization: `Bearer ${options.key}` } : {})
  const body = options.raw ?? (options.json === undefined ? null : JSON.stringify(options.json))
  if (body !== null) headers.set('content-type', 'application/json')
  for (const [name, value] of Object.entries(options.headers ?? {})) headers.set(name, value)
  return worker.fetch(path.startsWith('https:') ? path : ORIGIN + path, { method, headers, body, redirect: 'manual' })
}

/** `T` is what the caller expects; a test that reads a field of it fails where the answer is another. */
export const send = async <T = ErrorBody>(method: string, path: string, options?: SendOptions): Promise<Answer<T>> => {
  const response = await fetchWorker(method, path, options)
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json') ?? false
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: (isJson && text ? JSON.parse(text) : null) as T,
  }
}

export type NewKey = ApiKey & { key: string }

/** A provisioned instance with an admin key, seen through that key. */
export type Site = {
  id: string
  base: string
  key: string
  send<T = ErrorBody>(method: string, path: string, options?: SendOptions): Promise<Answer<T>>
  makeKey(request: Record<string, unknown>): Promise<NewKey>
  submit(more?: Record<string, unknown>, headers?: Record<string, string>): Promise<Answer<Job>>
  /** Submits and expects it to be taken. */
  begin(more?: Record<string, unknown>): Promise<Job>
  job(id: string): Promise<Job>
  /** The job once it has ended. */
  ended(id: string): Promise<Job>
}

/** Answered at once by the provider, where a test is not about polling. */
export const SYNC = { provider_options: { ideogram: { mode: 'sync' } } }
export const jobRequest = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  type: 'image.generate',
  input: { prompt: 'a lighthouse at dawn', ...SYNC },
  ...more,
})

export type SiteOptions = { config?: InstanceConfig; credential?: boolean; limits?: ProviderLimits }

export const openSite = async (id = 'prod', options: SiteOptions = {}): Promise<Site> => {
  await must(201, send('POST', '/v1/instances', { key: ROOT_KEY, json: { id, config: options.config ?? {} } }))
  const base = `/v1/instances/${id}`
  const made = await must(
    201,
    send<NewKey>('POST', `${base}/keys`, { key: ROOT_KEY, json: { name: 'owner', role: 'admin' } }),
  )
  const site = siteOf(id, base, made.body.key)
  if (options.credential !== false) {
    const credential = { name: 'main', secret: PROVIDER_SECRET }
    await must(201, site.send('POST', '/providers/ideogram/credentials', { json: credential }))
  }
  if (options.limits) await must(200, site.send('PUT', '/providers/ideogram', { json: { limits: options.limits } }))
  return site
}

/** The same instance through another key. */
export const withKey = (site: Site, key: string): Site => siteOf(site.id, site.base, key)

const siteOf = (id: string, base: string, key: string): Site => {
  const site: Site = {
    id,
    base,
    key,
    send: (method, path, options = {}) => send(method, base + path, { key, ...options }),
    makeKey: async (request) => (await must(201, site.send<NewKey>('POST', '/keys', { json: request }))).body,
    submit: (more, headers = {}) => site.send<Job>('POST', '/jobs', { json: jobRequest(more), headers }),
    begin: async (more) => (await must(202, site.submit(more))).body,
    job: async (job) => (await must(200, site.send<Job>('GET', `/jobs/${job}`))).body,
    ended: async (job) => {
      const { body } = await must(200, site.send<Job>('GET', `/jobs/${job}`, { headers: { prefer: 'wait=20' } }))
      if (body.ended_at === null)
        throw new Error(`job ${job} has not ended: ${body.status} ${JSON.stringify(body.queue)}`)
      return body
    },
  }
  return site
}

export const must = async <T>(status: number, answer: Promise<Answer<T>>): Promise<Answer<T>> => {
  const given = await answer
  if (given.status !== status) throw new Error(`expected ${status}, got ${given.status}: ${given.text}`)
  return given
}

export const instanceStub = (id: string) => env.INSTANCE.getByName(id)
export const laneStub = (id: string, lane = 0) => env.LANE.getByName(`${id}/${lane}`)

type Row = Record<string, SqlStorageValue>

/** Rows as they lie in the instance's database. */
export const rowsOf = (id: string, query: string): Promise<Row[]> =>
  runInDurableObject(instanceStub(id), (_instance, state) => state.storage.sql.exec(query).toArray())

export const laneRows = (id: string, query: string): Promise<Row[]> =>
  runInDurableObject(laneStub(id), (_lane, state) => state.storage.sql.exec(query).toArray())

/** Counted in memory and written some seconds after what they count. */
const WRITTEN_LATER = new Set(['credential_uses', 'track_records'])

/** Every row of an instance's database and of the directory, as text: to show that nothing changed. */
export const stateOf = async (id: string): Promise<string> => {
  const instance = await runInDurableObject(instanceStub(id), (_instance, { storage: { sql } }) =>
    sql
      .exec("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY name")
      .toArray()
      .filter(({ name }) => !WRITTEN_LATER.has(String(name)))
      .map(({ name }) => [name, sql.exec(`SELECT * FROM "${name}"`).toArray()]),
  )
  const directory = await Promise.all(
    ['organizations', 'instances'].map(
      async (table) => (await env.DIRECTORY.prepare(`SELECT * FROM ${table}`).all()).results,
    ),
  )
  return JSON.stringify([instance, directory])
}
