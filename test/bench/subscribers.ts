import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { sizeFor } from './jobs.ts'
import { load } from './load.ts'
import { cpuSeconds } from './processes.ts'
import { addTenant, type Product, rootClient, startProduct, startProductPlain, tenantOf } from './product.ts'
import type { Section } from './section.ts'
import { median, number, ratioByRound, table, withSpread } from './statistics.ts'
import { createReader, statusOf, writeRequest } from './wire.ts'
import { CONCURRENCY, type World } from './world.ts'

/**
 * What subscribers and status reads take from the scheduler: the same jobs with and without them, in turns. The jobs are of
 * two hundred projects by turns, and two hundred applications each watch their own; or all two hundred are sent everything.
 */

const SUBSCRIBERS = 200
const READS_PER_SECOND = 100
/** Where two hundred are sent everything, so many times fewer jobs take about as long. */
const SLOWER = 5
/** Seconds before the clock starts: what is told behind its end stands for what was submitted before its beginning. */
const WARM_UP = 0.6

type Case = { name: string; watch: 'nothing' | 'projects' | 'everything'; bundled?: boolean; reads: number }

const NOBODY: Case = { name: 'nobody watches', watch: 'nothing', reads: 0 }
const EVERYTHING: Case = { name: `${SUBSCRIBERS} subscribers of everything`, watch: 'everything', reads: 0 }
const BUNDLED: Case = { ...EVERYTHING, name: `${EVERYTHING.name}, bundled`, bundled: true }
const CASES: Case[] = [
  NOBODY,
  { name: `${READS_PER_SECOND} reads a second`, watch: 'nothing', reads: READS_PER_SECOND },
  { name: `${SUBSCRIBERS} subscribers, a project each`, watch: 'projects', reads: 0 },
  { name: 'both', watch: 'projects', reads: READS_PER_SECOND },
]

/** The cases of four rounds (a Latin square of Williams): each stands in each place once, and once behind each other one. */
const ORDERS = [
  [0, 1, 3, 2],
  [1, 2, 0, 3],
  [2, 3, 1, 0],
  [3, 0, 2, 1],
]

type Round = { perSecond: number; cpuUs: number; received: number; reads: number }

export const measureSubscribers = async (world: World, rounds: number, seconds: number): Promise<Section> => {
  const products = {
    workerd: await startProductPlain(`${world.folder}/watched-workerd`),
    miniflare: await startProduct(`${world.folder}/watched`),
  }
  const rows: string[][] = []
  const notes: string[] = []
  const data: Section['data'] = {}
  for (const [on, product] of Object.entries(products)) {
    world.atEnd(product.stop)
    const { size, run } = await watched(product, (await world.provider()).url, seconds)
    const figures = await takeTurns(CASES, rounds, run)
    // What hundreds of thousands of messages leave behind to be cleaned up would be charged to whoever comes next.
    const flooded = await takeTurns([NOBODY, EVERYTHING, BUNDLED], Math.ceil(rounds / 2), run)
    const rowOf = ({ name }: Case, own: Round[], alone: Round[]) => {
      const [perSecond, unwatched] = [own.map((round) => round.perSecond), alone.map((round) => round.perSecond)]
      const cpuUs = number(median(own.map((round) => round.cpuUs)))
      const received = number(median(own.map((round) => round.received)), 1)
      const reads = number(median(own.map((round) => round.reads)))
      return [`${name}, on ${on}`, withSpread(perSecond), cpuUs, received, reads, ratioByRound(perSecond, unwatched)]
    }
    rows.push(...CASES.map((item) => rowOf(item, figures(item), figures(NOBODY))))
    rows.push(...[EVERYTHING, BUNDLED].map((item) => rowOf(item, flooded(item), flooded(NOBODY))))
    notes.push(`on ${on} ${size} jobs in each round, of ${SUBSCRIBERS} projects by turns`)
    data[on] = {
      ...Object.fromEntries(CASES.map((item) => [item.name, figures(item)])),
      [EVERYTHING.name]: flooded(EVERYTHING),
      [BUNDLED.name]: flooded(BUNDLED),
    }
  }
  return {
    title: 'subscribers: jobs per second while they watch',
    text: table([['', 'jobs/s', 'CPU us', 'MB received', 'reads/s', 'of nobody'], ...rows]),
    notes: [
      ...notes,
      'a subscriber of everything is sent every event of every job; the clients that receive and read run on the same cores',
    ],
    data,
  }
}

/** How the jobs of a round run while a case goes on beside them. */
const watched = async (product: Product, providerUrl: string, seconds: number) => {
  const owner = await addTenant(product, 'watched', 'text', providerUrl, CONCURRENCY)
  const projects = await Promise.all(Array.from({ length: SUBSCRIBERS }, (_, i) => projectKey(product, owner.id, i)))
  const tenant = tenantOf(product, owner.id, 'text', projects[0] ?? '')
  const keysOf = { nothing: [], projects, everything: projects.map(() => owner.key) }
  const submits = projects.map((key) => tenantOf(product, owner.id, 'text', key).submit)
  let sent = 0
  const job = { url: product.url, request: () => submits[sent++ % SUBSCRIBERS] ?? tenant.submit }
  const unfinished = async () => tenant.unfinished()
  const size = await sizeFor({ job, unfinished, pids: product.pids }, seconds)
  const known = await tenant.submitOne()
  const run = async ({ watch, bundled = false, reads }: Case): Promise<Round> => {
    const jobs = watch === 'everything' && !bundled ? Math.ceil(size / SLOWER) : size
    const watchers = await Promise.all(keysOf[watch].map((key) => subscribe(product.url, owner.id, key, bundled)))
    const reader = await startReads(product.url, tenant.read(known), reads)
    const received = () => watchers.reduce((sum, one) => sum + one.bytes(), 0) / 2 ** 20
    await load({ ...job, connections: 32, seconds: WARM_UP })
    const before = { cpu: cpuSeconds(product.pids), received: received(), reads: reader.answered() }
    const startedAt = performance.now()
    await load({ ...job, connections: 32, requests: jobs })
    while (tenant.unfinished() > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    const took = (performance.now() - startedAt) / 1000
    const round = {
      perSecond: jobs / took,
      cpuUs: ((cpuSeconds(product.pids) - before.cpu) / jobs) * 1e6,
      received: received() - before.received,
      reads: (reader.answered() - before.reads) / took,
    }
    reader.stop()
    for (const watcher of watchers) watcher.close()
    // Two hundred sockets that close, and what they were sent, are not the next one's cost.
    await quiet(product.pids)
    return round
  }
  return { size, run }
}

/** Every case once in each round. */
const takeTurns = async (
  cases: Case[],
  rounds: number,
  run: (item: Case) => Promise<Round>,
): Promise<(item: Case) => Round[]> => {
  const figures = new Map<Case, Round[]>(cases.map((item) => [item, []]))
  for (let round = 0; round < rounds; round += 1) {
    const order = ORDERS[round % ORDERS.length] ?? []
    for (const item of order.flatMap((i) => cases[i] ?? [])) figures.get(item)?.push(await run(item))
  }
  return (item) => figures.get(item) ?? []
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

/** A WebSocket that counts what it is sent and looks at nothing: two hundred real clients would need a machine of their own. */
const subscribe = (url: URL, instance: string, key: string, bundled: boolean): Promise<Watcher> =>
  new Promise((resolve, reject) => {
    const socket: Socket = connect({ host: url.hostname, port: Number(url.port) })
    let received = 0
    const request = writeRequest('GET', new URL(`/v1/instances/${instance}/events?bundled=${bundled}`, url), {
      authorization: `Bearer ${key}`,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': randomBytes(16).toString('base64'),
    })
    const answered = createReader(({ head }) => {
      if (statusOf(head) !== 101) return reject(new Error(`a subscription was answered ${statusOf(head)}`))
      socket.off('data', answered)
      socket.on('data', (chunk) => {
        received += chunk.length
      })
      resolve({ bytes: () => received, close: () => socket.destroy() })
    })
    socket.on('data', answered)
    socket.once('connect', () => socket.write(request))
    socket.on('error', reject)
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
