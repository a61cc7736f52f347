import { beforeEach, describe, expect, test } from 'vitest'
import { fetchWorker, openSite, PROVIDER_SECRET, ROOT_KEY, type Site, stateOf } from '../support/client.ts'
import { movableClock } from '../support/clock.ts'
import { fakeIdeogram } from '../support/fake-ideogram.ts'
import { type Hostile, MARKER } from './hostile.ts'
import { bornNames, listsAsObjects } from './hostile-bodies.ts'
import { generatedCases, handWritten } from './hostile-cases.ts'

/** Whatever is sent: an answer in the one shape, in time, that gives nothing away, and nothing has changed. */

const BOUND_MS = 5_000
const SEED = Date.now() % 1_000_000
const GENERATED_EACH = 40

const inTime = async <T>(work: Promise<T>): Promise<T> => {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), BOUND_MS)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

/** Why this answer is a fault, or null. */
const judge = (item: Hostile, status: number, headers: Headers, text: string, key: string): string | null => {
  if (status >= 500) return `status ${status}: ${text}`
  if (status < 400 && item.method !== 'GET' && item.method !== 'OPTIONS')
    return `was taken: ${status} ${text.slice(0, 200)}`
  const given = JSON.stringify([...headers]) + text
  if (/\.[jt]s:\d+|[A-Z]\w*Error:|SQLITE|D1_/.test(given)) return `a stack trace: ${given}`
  if (status >= 400 && /\bat \S+ \(|\bat \S+:\d+:\d+/.test(given)) return `a stack trace: ${given}`
  const secrets = status < 400 ? [] : [MARKER]
  for (const secret of [...secrets, key, ROOT_KEY, PROVIDER_SECRET])
    if (given.includes(secret)) return `a secret: ${given}`
  if (!headers.get('x-request-id')) return 'no request id'
  if (status < 400) return null
  const error = (JSON.parse(text) as { error: Record<string, unknown> }).error
  const shape = ['type', 'code', 'message', 'param', 'source', 'request_id'].every((name) => Object.hasOwn(error, name))
  if (!shape || error['source'] !== 'switchyard' || error['request_id'] !== headers.get('x-request-id'))
    return `shape: ${text}`
  if (typeof error['message'] !== 'string' || error['message'].length > 600) return `message: ${text.slice(0, 900)}`
  if (status === 400 && error['code'] === 'invalid_request' && typeof error['param'] !== 'string')
    return `no param: ${text}`
  return null
}

let site: Site
beforeEach(async () => {
  fakeIdeogram()
  site = await openSite('prod')
  await site.ended((await site.begin()).id)
  await site.begin({ not_before: new Date(Date.now() + 24 * 60 * 60 * 1000).toISOString() })
  // What is written only now and then, such as the use of credentials, does not fall due meanwhile.
  movableClock().freeze()
})

const attack = async (cases: Hostile[]): Promise<string[]> => {
  const before = await stateOf('prod')
  const faults: string[] = []
  for (const item of cases) {
    try {
      const response = await inTime(fetchWorker(item.method, item.path, { key: site.key, ...item.options }))
      const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') ?? false
      const text = isStream ? '' : await inTime(response.text())
      if (isStream) await response.body?.cancel()
      const fault = judge(item, response.status, response.headers, text, site.key)
      if (fault) faults.push(`${item.name}: ${fault}`)
    } catch (error) {
      faults.push(`${item.name}: ${String(error)}`)
    }
  }
  if ((await stateOf('prod')) !== before) faults.push('the state has changed')
  return faults
}

describe('hostile input', () => {
  test('there is enough of it', () => {
    expect(handWritten.length).toBeGreaterThanOrEqual(300)
    expect(generatedCases(SEED, GENERATED_EACH).length).toBeGreaterThanOrEqual(200)
    expect(new Set(handWritten.map((item) => JSON.stringify([item.name, item.path]))).size).toBeGreaterThan(300)
  })

  test('written by hand is refused and changes nothing', { timeout: 60_000 }, async () => {
    expect(await attack(handWritten)).toEqual([])
  })

  test(`generated with seed ${SEED} is refused and changes nothing`, { timeout: 60_000 }, async () => {
    expect(await attack(generatedCases(SEED, GENERATED_EACH))).toEqual([])
  })

  test.each(bornNames)('a name that every object is born with is not dropped in silence: $name', async (item) => {
    expect(await attack([item])).toEqual([])
  })

  test.each(listsAsObjects)('a list is not an object: $name', async (item) => {
    expect(await attack([item])).toEqual([])
  })

  test('all at once is refused and changes nothing', { timeout: 60_000 }, async () => {
    const faults = await Promise.all(
      [0, 1, 2, 3].map((part) => attack(handWritten.filter((_item, i) => i % 4 === part))),
    )
    expect(faults.flat()).toEqual([])
  })

  test('cannot break a header: line breaks do not get as far as the Worker', async () => {
    for (const value of ['a\r\nx-admin: 1', 'a\nb', 'a\u0000b']) {
      await expect(
        (async () => fetchWorker('GET', '/healthz', { headers: { 'x-request-id': value } }))(),
      ).rejects.toThrow(TypeError)
    }
  })
})
