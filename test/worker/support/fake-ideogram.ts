import { vi } from 'vitest'
import { pngOf } from '../storage/pictures.ts'
import { pause } from './clock.ts'

/**
 * Ideogram's wire in memory, as much as the actors need of it: accept, poll, pictures. The faithful one is the emulator,
 * which the tests from outside use.
 */

type Kind = 'generate' | 'poll' | 'image'
type Reply = (url: URL) => Response | Promise<Response>
export type Generation = { id: string; prompt: string; secret: string; atMs: number }

const json = (value: unknown, status = 200, headers: Record<string, string> = {}): Response =>
  Response.json(value, { status, headers })

export const failing =
  (status: number, body: unknown = { error: 'no' }, headers: Record<string, string> = {}): Reply =>
  () =>
    json(body, status, headers)

export const PICTURE = pngOf(2_000, 1280, 720)

export type FakeIdeogram = {
  /** What was accepted, and so would be paid for. */
  accepted: Generation[]
  /** The secret of each poll. */
  polledWith: string[]
  /** Calls by kind, whatever they were answered. */
  calls: Record<Kind, number>
  /** Calls that hang now. */
  open: Record<Kind, number>
  /** Calls that their caller gave up. */
  aborted: number
  /** The most generations that were open at once. */
  mostOpen: number
  /** Answers given instead of the usual ones, first in first out. */
  next: Record<Kind, Reply[]>
  /** Lets calls of this kind hang until `release`. */
  hold(kind: Kind): void
  release(kind: Kind): void
}

export const fakeIdeogram = (): FakeIdeogram => {
  const held = new Set<Kind>()
  const fake: FakeIdeogram = {
    accepted: [],
    polledWith: [],
    calls: { generate: 0, poll: 0, image: 0 },
    open: { generate: 0, poll: 0, image: 0 },
    aborted: 0,
    mostOpen: 0,
    next: { generate: [], poll: [], image: [] },
    hold: (kind) => void held.add(kind),
    release: (kind) => void held.delete(kind),
  }

  const images = (id: string, count: number) =>
    Array.from({ length: count }, (_, i) => ({
      url: `https://images.ideogram.example/${id}/${i}.png`,
      is_image_safe: true,
      seed: 7,
    }))

  const generate = (url: URL, body: Record<string, unknown>, secret: string): Response => {
    if (url.searchParams.has('dry_run')) return json({ object: 'price_quote', usd_micros: 60_000 })
    const generation = {
      id: `gen-${fake.accepted.length + 1}`,
      prompt: String(body['prompt']),
      secret,
      atMs: Date.now(),
    }
    fake.accepted.push(generation)
    if (body['async'] === true) return json({ generation_id: generation.id })
    return json({ generation_id: generation.id, data: images(generation.id, Number(body['num_images'] ?? 1)) })
  }

  const usual = (kind: Kind, url: URL, body: Record<string, unknown>, secret: string): Response => {
    if (kind === 'generate') return generate(url, body, secret)
    if (kind === 'image') return new Response(PICTURE, { headers: { 'content-length': String(PICTURE.length) } })
    const id = url.pathname.split('/').at(-1) ?? ''
    return json({ generation_id: id, status: 'completed', usage_cost_usd_micros: 60_000, data: images(id, 1) })
  }

  /** In the caller's own turn: a promise of one request cannot be settled by another. */
  const waitWhileHeld = async (kind: Kind, signal: AbortSignal | null | undefined): Promise<void> => {
    while (held.has(kind)) {
      if (signal?.aborted) {
        fake.aborted += 1
        throw new Error('aborted')
      }
      await pause(2)
    }
  }

  vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
    const url = new URL(String(input))
    const kind = url.hostname === 'images.ideogram.example' ? 'image' : init?.method === 'GET' ? 'poll' : 'generate'
    fake.calls[kind] += 1
    fake.open[kind] += 1
    if (kind === 'poll') fake.polledWith.push(new Headers(init?.headers).get('api-key') ?? '')
    fake.mostOpen = Math.max(fake.mostOpen, fake.open.generate)
    try {
      const body = init?.body ? ((await new Response(init.body).json()) as Record<string, unknown>) : {}
      const reply = fake.next[kind].shift()
      await waitWhileHeld(kind, init?.signal)
      return reply ? await reply(url) : usual(kind, url, body, new Headers(init?.headers).get('api-key') ?? '')
    } finally {
      fake.open[kind] -= 1
    }
  })
  return fake
}
