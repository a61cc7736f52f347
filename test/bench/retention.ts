import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { load } from './load.ts'
import { addTenant, databaseOf, rootClient, startProduct } from './product.ts'
import type { Section } from './section.ts'
import { median, number, ratio, table } from './statistics.ts'
import { CONCURRENCY, type World } from './world.ts'

/** What an instance weighs, and how quick it is, after a few and after very many jobs, when it keeps what is over for a while only. */

const INSTANCE = 'trimmed'
const CONNECTIONS = 8
/** Jobs of one measurement. */
const PIECE = 500
/** The figures of a moment are the median of so many pieces before it. */
const PIECES = 8
/** After so many jobs the first figures are taken. */
const FIRST = 5_000

type Piece = { submitP50Ms: number; submitP99Ms: number; perSecond: number }
type Moment = { jobs: number; seconds: number; kept: number; bytes: number; used: number; piece: Piece }

/** `perSecond`: how many jobs are let in, piece by piece. What is kept at once, and with it the database, follows from it. */
export const measureRetention = async (
  world: World,
  { jobs, retentionS, perSecond }: { jobs: number; retentionS: number; perSecond: number },
): Promise<Section> => {
  const provider = await world.provider()
  const state = join(world.folder, 'retention')
  const product = await startProduct(state)
  world.atEnd(product.stop)
  const tenant = await addTenant(product, INSTANCE, 'image', provider.url, CONCURRENCY)
  const kinds = ['jobs_s', 'events_s', 'logs_s', 'artifacts_s', 'ledger_s']
  await rootClient(product).ask('PATCH', `/v1/instances/${INSTANCE}`, {
    config: { retention: { ...Object.fromEntries(kinds.map((kind) => [kind, retentionS])), archive: true } },
  })
  const startedAt = performance.now()
  const pieces: Piece[] = []
  const moments: Moment[] = []
  const first = await tenant.submitOne()
  while (pieces.length * PIECE < jobs) {
    const result = await load({ url: product.url, request: tenant.submit, connections: CONNECTIONS, requests: PIECE })
    while (tenant.unfinished() > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    pieces.push({ submitP50Ms: result.p50Ms, submitP99Ms: result.p99Ms, perSecond: result.perSecond })
    const done = pieces.length * PIECE
    const pauseMs = startedAt + (1000 * done) / perSecond - performance.now()
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs))
    const seconds = (performance.now() - startedAt) / 1000
    const isFirst = moments.length === 0 && done >= Math.min(FIRST, jobs)
    const isSettled = moments.length === 1 && seconds > 2 * retentionS
    if (isFirst || isSettled) moments.push(moment(done, seconds, state, pieces))
  }
  moments.push(moment(pieces.length * PIECE, (performance.now() - startedAt) / 1000, state, pieces))
  const archived = await rootClient(product).ask<{ archived: boolean; status: string }>(
    'GET',
    `/v1/instances/${INSTANCE}/jobs/${first}`,
  )
  return report(moments, retentionS, perSecond, `the first job: ${archived.status}, archived: ${archived.archived}`)
}

const moment = (jobs: number, seconds: number, state: string, pieces: readonly Piece[]): Moment => {
  const last = pieces.slice(-PIECES)
  const of = (figure: keyof Piece) => median(last.map((piece) => piece[figure]))
  const piece = { submitP50Ms: of('submitP50Ms'), submitP99Ms: of('submitP99Ms'), perSecond: of('perSecond') }
  return { jobs, seconds, ...sizeOf(databaseOf(state, INSTANCE)), piece }
}

/** `used` leaves out pages that were freed and wait to be written again. */
const sizeOf = (file: string): { kept: number; bytes: number; used: number } => {
  const database = new DatabaseSync(file, { readOnly: true })
  const one = (query: string) => Number(Object.values(database.prepare(query).get() ?? {})[0])
  const page = one('PRAGMA page_size')
  const pages = one('PRAGMA page_count')
  const size = {
    kept: one('SELECT count(*) FROM jobs'),
    bytes: pages * page,
    used: (pages - one('PRAGMA freelist_count')) * page,
  }
  database.close()
  return size
}

const report = (moments: Moment[], retentionS: number, rate: number, archived: string): Section => {
  const mb = (bytes: number) => number(bytes / 2 ** 20, 1)
  const base = moments[0]
  const rows = moments.map(({ jobs, seconds, kept, bytes, used, piece }) => [
    number(jobs),
    number(seconds),
    number(kept),
    `${mb(bytes)} / ${mb(used)}`,
    base ? ratio(bytes, base.bytes) : '-',
    `${number(piece.submitP50Ms, 1)} / ${number(piece.submitP99Ms, 1)}`,
    base
      ? `${ratio(piece.submitP50Ms, base.piece.submitP50Ms)} / ${ratio(piece.submitP99Ms, base.piece.submitP99Ms)}`
      : '-',
    number(piece.perSecond),
  ])
  return {
    title: `retention: one instance that keeps what is over for ${retentionS} s and archives it, ${rate} jobs per second, provider call of 0 ms`,
    text: table([
      ['after jobs', 's', 'kept', 'database MB / used', 'to first', 'submit p50 / p99 ms', 'to first', 'submits/s'],
      ...rows,
    ]),
    notes: [
      'a database grows to what is kept at once: jobs per second times the retention, and does not shrink',
      `submits of ${CONNECTIONS} connections: the median of ${PIECES} pieces of ${PIECE}`,
      archived,
    ],
    data: { moments },
  }
}
