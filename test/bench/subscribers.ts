import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { load } from './load.ts'
import { cpuSeconds } from './processes.ts'
import { addTenant, type Product, rootClient, startProduct, startProductPlain, tenantOf } from './product.ts'
import type { Section } from './section.ts'
import { median, number, ratioWithError, table, withSpread } from './statistics.ts'
import { createReader, statusOf, writeRequest } from './wire.ts'
import { CONCURRENCY, type World } from './world.ts'

/**
 * What subscribers and status reads take from the scheduler. Two hundred applications each watch a project of theirs, two
 * hundred others by lists, two hundred by streams. By turns the jobs are of projects that are watched in one of these ways,
 * and of as many that nobody watches, and jobs are read meanwhile or not: so nothing is opened or closed between what is
 * compared. Then two hundred are sent everything. Each is compared with what stands right before and behind it, since a
 * machine is quicker in one half-minute than in the next.
 */

const SUBSCRIBERS = 200
const READS_PER_SECOND = 100
/** Seconds before the clock starts: what is told behind its end stands for what was submitted before its beginning. */
const WARM_UP = 0.6
/** Longer than a moment in which all are told together. */
const SETTLED_MS = 600

/** A text for each event; a text for all events of a moment (`bundled`); server-sent events. */
type Way = 'socket' | 'lists' | 'stream'
type Case = { name: string; by: Way | null; reads: number }
type Flood = { name: string; watchers: number; by: Way }

const WAYS: Way[] = ['socket', 'lists', 'stream']

const UNWATCHED: Case = { name: 'nobody watches', by: null, reads: 0 }
const CASES: Case[] = [
  { name: `${READS_PER_SECOND} reads a second`, by: null, reads: READS_PER_SECOND },
  { name: `${SUBSCRIBERS} subscribers, a project each`, by: 'socket', reads: 0 },
  { name: 'both', by: 'socket', reads: READS_PER_SECOND },
  { name: 'both, bundled', by: 'lists', reads: READS_PER_SECOND },
  { name: 'both, server-sent events', by: 'stream', reads: READS_PER_SECOND },
]
const EVERYTHING = `${SUBSCRIBERS} subscribers of everything`
const ALONE: Flood = { name: 'nobody is connected', watchers: 0, by: 'socket' }
const FLOODS: Flood[] = [
  { name: EVERYTHING, watchers: SUBSCRIBERS, by: 'socket' },
  { name: `${EVERYTHING}, bundled`, watchers: SUBSCRIBERS, by: 'lists' },
]

type Round = { perSecond: number; cpuUs: number; received: number; reads: number }
/** `unwatched`: jobs per second right before and behind it, while nobody watched. */
type Compared = Round & { unwatched: number }

export const measureSubscribers = async (world: World, rounds: number, seconds: number): Promise<Section> => {
  const products = {
    workerd: await startProductPlain(`${world.folder}/watched-workerd`),
    miniflare: await startProduct(`${world.folder}/watched`),
  }
  const rows: string[][] = []
  const data: Section['data'] = {}
  for (const [on, product] of Object.entries(products)) {
    world.atEnd(product.stop)
    const scene = await prepare(product, (await world.provider()).url, seconds)
    const seen = { ...(await projectsWatched(scene, rounds)), ...(await flooded(scene, Math.ceil(rounds / 2))) }
    for (const [name, compared] of Object.entries(seen)) rows.push(rowOf(`${name}, on ${on}`, compared))
    data[on] = seen
  }
  return {
    title: 'subscribers: jobs per second while they watch',
    text: table([['', 'jobs/s', 'CPU us', 'MB received', 'reads/s', 'of nobody'], ...rows]),
    notes: [
      `jobs of ${SUBSCRIBERS} projects by turns, ${seconds} s in each round behind ${WARM_UP} s that do not count`,
      'of nobody: mean of the ratios to what was measured right before and behind it, and its standard error',
      'a subscriber of everything is sent every event of every job; the clients that receive and read run on the same cores',
    ],
    data,
  }
}

const rowOf = (name: string, compared: Compared[]): string[] => {
  const of = (figure: keyof Compared) => compared.map((round) => round[figure])
  return [
    name,
    withSpread(of('perSecond')),
    number(median(of('cpuUs'))),
    number(median(of('received')), 1),
    number(median(of('reads'))),
    ratioWithError(of('perSecond'), of('unwatched')),
  ]
}

type Scene = {
  url: URL
  pids: number[]
  instance: string
  /** Key of the whole instance. */
  ownerKey: string
  watched: Record<Way, Project[]>
  others: Project[]
  /** Jobs one after the other, of these projects by turns. */
  run: (projects: Project[], watchers: Watcher[], readsPerSecond: number) => Promise<Round>
}

type Project = { key: string; submit: Buffer }

const prepare = async (product: Product, providerUrl: string, seconds: number): Promise<Scene> => {
  const { url, pids } = product
  const owner = await addTenant(product, 'watched', 'text', providerUrl, CONCURRENCY)
  const projects = await Promise.all(
    Array.from({ length: (WAYS.length + 1) * SUBSCRIBERS }, async (_, i): Promise<Project> => {
      const key = await projectKey(product, owner.id, i)
      return { key, submit: tenantOf(product, owner.id, 'text', key).submit }
    }),
  )
  const known = await owner.submitOne()
  let sent = 0
  const run: Scene['run'] = async (projects, watchers, readsPerSecond) => {
    const next = () => projects[sent++ % projects.length]?.submit ?? owner.submit
    const work = { url, request: next, connections: 32 }
    const received = () => watchers.reduce((sum, one) => sum + one.bytes(), 0) / 2 ** 20
    const reader = await startReads(url, owner.read(known), readsPerSecond)
    await load({ ...work, seconds: WARM_UP })
    const before = { cpu: cpuSeconds(pids), received: received(), reads: reader.answered(), left: owner.unfinished() }
    const startedAt = performance.now()
    const { done } = await load({ ...work, seconds })
    while (owner.unfinished() > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    const took = (performance.now() - startedAt) / 1000
    const round = {
      perSecond: (done + before.left) / took,
      cpuUs: ((cpuSeconds(pids) - before.cpu) / (done + before.left)) * 1e6,
      received: received() - before.received,
      reads: (reader.answered() - before.reads) / took,
    }
    reader.stop()
    await new Promise((resolve) => setTimeout(resolve, SETTLED_MS))
    return round
  }
  const share = (nth: number) => projects.slice(nth * SUBSCRIBERS, (nth + 1) * SUBSCRIBERS)
  const watched = { socket: share(0), lists: share(1), stream: share(2) }
  return { url, pids, instance: owner.id, ownerKey: owner.key, watched, others: share(3), run }
}

const projectsWatched = async (scene: Scene, rounds: number): Promise<Record<string, Compared[]>> => {
  const { url, instance, watched, others } = scene
  const watchers = await Promise.all(
    WAYS.flatMap((way) => watched[way].map(({ key }) => subscribe(url, instance, key, way))),
  )
  const run = ({ by, reads }: Case) => scene.run(by ? watched[by] : others, watchers, reads)
  // The first seconds of a server are its slowest.
  for (const item of CASES) await run(item)
  const seen = await takeTurns(UNWATCHED, CASES, rounds, run)
  for (const watcher of watchers) watcher.close()
  await quiet(scene.pids)
  return seen
}

const flooded = async (scene: Scene, rounds: number): Promise<Record<string, Compared[]>> =>
  takeTurns(ALONE, FLOODS, rounds, async ({ watchers: count, by }) => {
    const { url, instance, ownerKey } = scene
    const opened = Array.from({ length: count }, () => subscribe(url, instance, ownerKey, by))
    const watchers = await Promise.all(opened)
    const round = await scene.run(scene.others, watchers, 0)
    for (const watcher of watchers) watcher.close()
    // Two hundred sockets that close, and what they were sent, are not the next one's cost.
    await quiet(scene.pids)
    return round
  })

/** Every case once in each round, each round begun with another, and between any two of them what nobody watches. By name. */
const takeTurns = async <C extends { name: string }>(
  unwatched: C,
  cases: C[],
  rounds: number,
  run: (item: C) => Promise<Round>,
): Promise<Record<string, Compared[]>> => {
  const figures: Record<string, Compared[]> = {}
  const note = (item: C, round: Compared) => {
    figures[item.name] ??= []
    figures[item.name]?.push(round)
  }
  for (let round = 0; round < rounds; round += 1) {
    const first = round % cases.length
    let before = await run(unwatched)
    note(unwatched, { ...before, unwatched: before.perSecond })
    for (const item of [...cases.slice(first), ...cases.slice(0, first)]) {
      const own = await run(item)
      const after = await run(unwatched)
      note(item, { ...own, unwatched: (before.perSecond + after.perSecond) / 2 })
      note(unwatched, { ...after, unwatched: after.perSecond })
      before = after
    }
  }
  return figures
}

/** Until the servers have next to nothing to do, or five seconds are over. */
const quiet = async (pids: number[]): Promise<void> => {
  const endAt = performance.now() + 5_000
  let before = cpuSeconds(pids)
  while (performance.now() < endAt) {
    await new Promise((resolve) => setTimeout(resolve, 200))
    const now = cpuSeconds(pids)
    if (now - before < 0.02) return
    before = now
  }
}

const projectKey = async (product: Product, instance: string, i: number): Promise<string> => {
  const request = { name: `project-${i}`, role: 'user', project: `project-${i}` }
  return (await rootClient(product).ask<{ key: string }>('POST', `/v1/instances/${instance}/keys`, request)).key
}

type Watcher = { bytes: () => number; close: () => void }

/** A connection that counts what it is sent and looks at nothing: two hundred real clients would need a machine of their own. */
const subscribe = (url: URL, instance: string, key: string, way: Way): Promise<Watcher> =>
  new Promise((resolve, reject) => {
    const socket: Socket = connect({ host: url.hostname, port: Number(url.port) })
    let received = 0
    const request = writeRequest('GET', new URL(`/v1/instances/${instance}/events?bundled=${way === 'lists'}`, url), {
      authorization: `Bearer ${key}`,
      ...(way === 'stream' ? {} : upgrade()),
    })
    // A stream's head comes alone: its first event is still to happen.
    socket.once('data', (head: Buffer) => {
      const status = statusOf(head.toString('latin1'))
      if (status !== (way === 'stream' ? 200 : 101)) return reject(new Error(`a subscription was answered ${status}`))
      socket.on('data', (chunk) => {
        received += chunk.length
      })
      resolve({ bytes: () => received, close: () => socket.destroy() })
    })
    socket.once('connect', () => socket.write(request))
    socket.on('error', reject)
  })

const upgrade = () => ({
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': randomBytes(16).toString('base64'),
})

/** So far. */
type Reader = { answered: () => number; stop: () => void }

/** Reads one job at a steady pace on a few connections, as applications do that poll. */
const startReads = async (url: URL, request: Buffer, perSecond: number): Promise<Reader> => {
  const pollers = perSecond === 0 ? 0 : POLLERS
  const running = await Promise.all(
    Array.from({ length: pollers }, () => startPoller(url, request, perSecond / pollers)),
  )
  return {
    answered: () => running.reduce((sum, one) => sum + one.answered(), 0),
    stop: () => running.forEach((one) => void one.stop()),
  }
}

const POLLERS = 5

const startPoller = async (url: URL, request: Buffer, perSecond: number): Promise<Reader> => {
  const socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true })
  await new Promise<void>((resolve, reject) => socket.once('error', reject).once('connect', () => resolve()))
  const startedAt = performance.now()
  let sent = 0
  let answered = 0
  const sendWhatIsDue = () => {
    const due = ((performance.now() - startedAt) / 1000) * perSecond
    if (sent > answered || sent >= due) return
    sent += 1
    socket.write(request)
  }
  const read = createReader(({ head }) => {
    if (statusOf(head) !== 200) throw new Error(`a read was answered ${statusOf(head)}`)
    answered += 1
    sendWhatIsDue()
  })
  socket.on('data', read)
  const timer = setInterval(sendWhatIsDue, 1000 / perSecond)
  return {
    answered: () => answered,
    stop: () => {
      clearInterval(timer)
      socket.destroy()
    },
  }
}
