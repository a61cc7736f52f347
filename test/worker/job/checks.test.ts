import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { beforeEach, describe, expect, test } from 'vitest'
import type { ErrorBody } from '../../../src/contract/fault.ts'
import type { ProviderView } from '../../../src/contract/instance.ts'
import { LIMITS } from '../../../src/limits.ts'
import { pngOf } from '../storage/pictures.ts'
import { instanceStub, laneRows, openSite, rowsOf, type Site, SYNC } from '../support/client.ts'
import { eventually } from '../support/clock.ts'
import { type FakeIdeogram, failing, fakeIdeogram } from '../support/fake-ideogram.ts'
import { flat, jpeg, png, webp } from '../support/photos.ts'

/** What becomes of a job whose pictures are checked, by what comes back from the provider. */

const GOOD = png(128, 64)
const BLANK = png(128, 64, { paint: flat(0, 0, 0) })
const OTHER_SIZE = png(64, 64)
const DAMAGED = GOOD.slice()
DAMAGED.fill(0, 100, 200)

const gives =
  (...bytes: Uint8Array[]) =>
  () => {
    const next = bytes.length > 1 ? bytes.shift() : bytes[0]
    return new Response(next as BufferSource, { headers: { 'content-length': String(next?.length) } })
  }

const wanting = (checks: unknown, more: Record<string, unknown> = {}) => ({
  models: ['ideogram/ideogram-3'],
  input: { prompt: 'a lighthouse at dawn', aspect_ratio: '2:1', checks, ...SYNC },
  ...more,
})
const objects = async () => (await env.ARTIFACTS.list()).objects.map(({ key }) => key)

let site: Site
let provider: FakeIdeogram
beforeEach(async () => {
  provider = fakeIdeogram()
  site = await openSite('prod')
})

/** Every download is answered by `reply`. */
const pictures = (reply: () => Response) => {
  provider.next.image = Array.from({ length: 20 }, () => reply)
}
const run = async (more: Record<string, unknown>) => site.ended((await site.begin(more)).id)

describe('a good picture', () => {
  test.each([
    ['PNG', async () => GOOD, 'image/png'],
    ['JPEG', async () => jpeg(128, 64), 'image/jpeg'],
    ['WebP', () => webp(128, 64), 'image/webp'],
  ] as const)('as %s is stored with what was checked', async (_format, make, type) => {
    pictures(gives(await make()))
    const job = await run(wanting(true))
    expect(job.output?.images).toMatchObject([{ content_type: type, width: 128, height: 64, safe: true }])
    expect(job.output?.images[0]?.checks).toEqual({ decode: true, not_blank: true, dimensions: true, format: null })
    expect(await objects()).toEqual([`prod/${job.id}/1-0`])
  })

  test('tells only of what was asked for', async () => {
    pictures(gives(GOOD))
    const job = await run(wanting({ min_bytes: 100, min_width: 128, decode: false }))
    expect(job.output?.images[0]?.checks).toEqual({ min_bytes: true, min_width: true })
  })

  test('of a kind without a decoder is stored, and what could not be judged is null', async () => {
    pictures(gives(png(128, 64, { colour: 'grey', depth: 1, interlaced: true })))
    const job = await run(wanting({ decode: true, not_blank: true }))
    expect(job.output?.images[0]?.checks).toEqual({ decode: null, not_blank: null })
  })
})

describe('bytes that are bad', () => {
  const page = new TextEncoder().encode('<html>try again</html>')
  test.each([
    ['do not decode', DAMAGED, 'decoded'],
    ['are cut short', GOOD.subarray(0, 500), 'whole'],
    ['are no picture', page, 'no PNG'],
    ['are none at all', new Uint8Array(0), 'no PNG'],
  ])('because they %s are fetched again, and stored if they are good then', async (_what, bytes, words) => {
    pictures(gives(bytes, GOOD))
    const job = await run(wanting(true))
    expect(job.status).toBe('succeeded')
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['artifact_failed', 'done'])
    expect(job.attempts[0]?.error?.message).toMatch(/^Image 1 was not stored: /)
    expect(job.attempts[0]?.error?.message).toContain(words)
    expect([provider.calls.generate, provider.calls.image, job.cost_usd]).toEqual([1, 2, 0.06])
  })

  test.each([
    ['do not decode', DAMAGED, { decode: true }],
    ['are too few', GOOD, { min_bytes: 1_000_000 }],
    ['are no picture', page, { format: true }],
  ])('and come again the same, because they %s, fail the job for good', async (_what, bytes, checks) => {
    pictures(gives(bytes))
    const job = await run(wanting(checks, { max_attempts: 9 }))
    expect(job).toMatchObject({ status: 'failed', error: { code: 'artifact_failed', source: 'switchyard' } })
    expect([provider.calls.generate, provider.calls.image, job.cost_usd]).toEqual([1, 2, 0.06])
    expect(await objects()).toEqual([])
  })

  test('and differ each time end with the attempts', async () => {
    pictures(gives(...Array.from({ length: 9 }, (_, i) => GOOD.subarray(0, 500 + i))))
    const job = await run(wanting(true, { max_attempts: 3 }))
    expect(job).toMatchObject({ status: 'failed', error: { code: 'artifact_failed' } })
    expect([provider.calls.generate, provider.calls.image]).toEqual([1, 3])
  })

  test('that broke off on their way are fetched again', async () => {
    const announcedLonger = () => {
      const { readable, writable } = new FixedLengthStream(GOOD.length)
      const writer = writable.getWriter()
      void writer
        .write(GOOD.subarray(0, 100))
        .then(() => writer.abort(new Error('connection lost')))
        .catch(() => {})
      return new Response(readable)
    }
    pictures(gives(GOOD))
    provider.next.image.unshift(announcedLonger)
    const job = await run(wanting(true))
    expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['artifact_failed', 'done'])
    expect(provider.calls.generate).toBe(1)
  })

  test('do not send the job to another model: the picture is made and paid', async () => {
    pictures(gives(DAMAGED))
    const job = await run(wanting(true, { models: ['ideogram/ideogram-3', 'ideogram/ideogram-4'] }))
    expect(job.attempts.map(({ model }) => model)).toEqual(['ideogram/ideogram-3', 'ideogram/ideogram-3'])
  })

  test('beyond what is held in memory fail, where without checks they stream', async () => {
    const large = pngOf(LIMITS.checkedBytes + 1, 128, 64)
    for (const reply of [gives(large), () => new Response(new Blob([large as BufferSource]).stream())]) {
      pictures(reply)
      const job = await run(wanting(true))
      expect(job).toMatchObject({ status: 'failed', error: { code: 'artifact_failed' } })
      expect(job.attempts).toHaveLength(1)
    }
    pictures(gives(large))
    const streamed = await run(wanting(false))
    expect(streamed.output?.images[0]).toMatchObject({ bytes: large.length })
    expect(streamed.output?.images[0]).not.toHaveProperty('checks')
  })
})

describe('a blank picture', () => {
  test('is a rejection, not repeated and paid', async () => {
    pictures(gives(BLANK))
    const job = await run(wanting(true, { models: ['ideogram/ideogram-3', 'ideogram/ideogram-4'] }))
    expect(job).toMatchObject({
      status: 'failed',
      error: { code: 'content_rejected', message: 'Image 1 was not stored: it is blank.' },
      cost_usd: 0.06,
    })
    expect([provider.calls.generate, provider.calls.image]).toEqual([1, 1])
    expect(await objects()).toEqual([])
  })

  test('goes to another model where the job asks for that, and both are paid', async () => {
    pictures(gives(BLANK, GOOD))
    const models = ['ideogram/ideogram-3', 'ideogram/ideogram-4']
    const job = await run(wanting(true, { models, on_content_rejected: 'fallback' }))
    expect(job.status).toBe('succeeded')
    expect(job.attempts.map(({ model, outcome }) => [model, outcome])).toEqual([
      [models[0], 'content_rejected'],
      [models[1], 'done'],
    ])
    expect(job.cost_usd).toBeCloseTo(0.06 + 0.06, 6)
  })

  test('among good ones is left out, and named', async () => {
    pictures(gives(GOOD, BLANK, GOOD))
    const { input, ...more } = wanting(true)
    const job = await run({ ...more, input: { ...input, count: 3 } })
    expect(job.status).toBe('succeeded')
    expect(job.output?.images.map(({ artifact }) => artifact.at(-1))).toEqual(['0', '2'])
    expect(job.output?.left_out).toEqual([
      { index: 1, code: 'content_rejected', message: 'Image 2 was not stored: it is blank.' },
    ])
    expect(await objects()).toEqual([`prod/${job.id}/1-0`, `prod/${job.id}/1-2`])
  })

  test('is stored where nobody asked', async () => {
    pictures(gives(BLANK))
    expect((await run(wanting({ decode: true }))).status).toBe('succeeded')
  })
})

describe('a picture that is not what was asked for', () => {
  test.each([
    ['shape', OTHER_SIZE, { dimensions: true }, 'input.aspect_ratio', 'it is 64x64, and 2:1 was asked for'],
    [
      'width',
      GOOD,
      { min_width: 129 },
      'input.checks.min_width',
      'it is 128x64, and a width of at least 129 is asked for',
    ],
    [
      'height',
      GOOD,
      { min_height: 65 },
      'input.checks.min_height',
      'it is 128x64, and a height of at least 65 is asked for',
    ],
  ])('in %s fails once, and is not bought again', async (_what, bytes, checks, param, words) => {
    pictures(gives(bytes))
    const job = await run(wanting(checks))
    expect(job).toMatchObject({
      status: 'failed',
      error: { code: 'provider_rejected', source: 'provider', param, message: `Image 1 was not stored: ${words}.` },
      cost_usd: 0.06,
    })
    expect([provider.calls.generate, provider.calls.image]).toEqual([1, 1])
  })

  test('in format fails so too', async () => {
    pictures(gives(jpeg(128, 64)))
    const { input, ...more } = wanting(true)
    const job = await run({ ...more, input: { ...input, format: 'png' } })
    expect(job.error).toMatchObject({ code: 'provider_rejected', param: 'input.format' })
  })

  test('goes to another model, and does not count against the provider', async () => {
    const models = ['ideogram/ideogram-3', 'ideogram/ideogram-4']
    for (let jobs = 0; jobs < 6; jobs += 1) {
      pictures(gives(OTHER_SIZE, GOOD))
      const job = await run(wanting(true, { models }))
      expect(job.attempts.map(({ outcome }) => outcome)).toEqual(['provider_rejected', 'done'])
    }
    const view = await site.send<ProviderView>('GET', '/providers/ideogram')
    expect(view.body.breaker).toMatchObject({ state: 'closed', failures: 0 })
  })

  test('because a native field says another shape is not judged', async () => {
    pictures(gives(OTHER_SIZE))
    const native = { provider_options: { ideogram: { mode: 'sync', resolution: '1024x1024' } } }
    const job = await run({ models: ['ideogram/ideogram-3'], input: { prompt: 'x', checks: true, ...native } })
    expect(job.output?.images[0]?.checks).toMatchObject({ dimensions: null, decode: true })
  })
})

describe('the wish', () => {
  test('of the instance holds for jobs that say nothing, and is shown in them', async () => {
    await site.send('PATCH', '', { json: { config: { default_checks: { 'image.generate': { not_blank: true } } } } })
    pictures(gives(BLANK))
    const silent = await run({ input: { prompt: 'x', ...SYNC } })
    expect(silent).toMatchObject({ input: { checks: { not_blank: true } }, error: { code: 'content_rejected' } })
    expect((await run({ input: { prompt: 'x', checks: false, ...SYNC } })).status).toBe('succeeded')
    expect((await run({ input: { prompt: 'x', checks: { decode: true }, ...SYNC } })).status).toBe('succeeded')
  })

  test.each([
    [{ decode: 'yes' }, 'input.checks.decode'],
    [{ min_bytes: 0 }, 'input.checks.min_bytes'],
    [{ min_width: 99_999 }, 'input.checks.min_width'],
    [{ sharp: true }, 'input.checks.sharp'],
    ['all', 'input.checks'],
    [[], 'input.checks'],
    [{ min_width: 2_000 }, 'input.checks'],
  ])('%j is refused by its field', async (checks, param) => {
    const answer = await site.send<ErrorBody>('POST', '/jobs', {
      json: { type: 'image.generate', input: { prompt: 'x', size: '1024x1024', checks } },
    })
    expect([answer.status, answer.body.error.param]).toEqual([400, param])
  })
})

describe('a crash', () => {
  test('while a picture is checked buys nothing again', async () => {
    provider.hold('image')
    const job = await site.begin(wanting(true))
    await eventually('the download hangs', () => provider.open.image === 1)
    await eventually(
      'what is paid is kept',
      async () => (await laneRows('prod', 'SELECT job FROM attempts')).length === 1,
    )
    await abortAllDurableObjects()
    pictures(gives(GOOD))
    provider.release('image')
    await runDurableObjectAlarm(instanceStub('prod'))
    expect((await site.ended(job.id)).output?.images[0]?.checks).toMatchObject({ decode: true })
    expect([provider.accepted.length, await objects()]).toEqual([1, [`prod/${job.id}/1-0`]])
  })
})

test('six jobs of a lane are all checked, though only some at once', async () => {
  let most = 0
  pictures(() => {
    most = Math.max(most, provider.open.image)
    return gives(GOOD)()
  })
  provider.hold('image')
  const jobs = await Promise.all(Array.from({ length: 6 }, () => site.begin(wanting(true))))
  await eventually('the lane fetches', () => provider.open.image === LIMITS.checksPerLane)
  provider.release('image')
  const ended = await Promise.all(jobs.map(({ id }) => site.ended(id)))
  expect(ended.map(({ status }) => status)).toEqual(Array(6).fill('succeeded'))
  expect(most).toBe(LIMITS.checksPerLane)
})

test('a job that waits for its check can be canceled', async () => {
  pictures(gives(GOOD))
  provider.hold('image')
  const jobs = await Promise.all(Array.from({ length: 3 }, () => site.begin(wanting(true))))
  await eventually('the lane fetches', () => provider.open.image === LIMITS.checksPerLane)
  for (const { id } of jobs) await site.send('POST', `/jobs/${id}/cancel`)
  provider.release('image')
  for (const { id } of jobs) expect((await site.job(id)).status).toBe('canceled')
  expect((await run(wanting(true))).status).toBe('succeeded')
})

test('no event and no fault repeats the prompt', async () => {
  pictures(gives(DAMAGED))
  await run(wanting(true))
  pictures(failing(404) as () => Response)
  await run(wanting(true))
  const told = JSON.stringify([
    await rowsOf('prod', 'SELECT data FROM events'),
    await rowsOf('prod', 'SELECT fault FROM attempts'),
  ])
  expect(told).toContain('artifact_failed')
  expect(told).not.toContain('lighthouse')
})
