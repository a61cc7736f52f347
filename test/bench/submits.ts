import { load } from './load.ts'
import { cpuSeconds } from './processes.ts'
import type { Section } from './section.ts'
import { median, number, ratio, table, withSpread } from './statistics.ts'
import type { Target } from './world.ts'

/** Durable acknowledged submits over HTTP that nothing works on: product, bare limit and peers, taking turns. */

const CONNECTIONS = [1, 8, 32]

type Figures = { perSecond: number[]; p50Ms: number[]; p99Ms: number[]; cpuUs: number[]; clientCpu: number[] }
type Subject = { name: string; url: URL; request: Buffer; target: Target }

export const measureSubmits = async (targets: Target[], rounds: number, seconds: number): Promise<Section> => {
  const subjects: Subject[] = targets.flatMap((target) => target.submits.map((submit) => ({ ...submit, target })))
  const figures = new Map<string, Figures>()
  for (let round = 0; round < rounds; round += 1) {
    for (const connections of CONNECTIONS) {
      for (const subject of subjects) {
        if (round === 0 && connections === CONNECTIONS[0]) await load({ ...subject, connections: 8, requests: 200 })
        await measure(subject, connections, seconds, figures)
      }
    }
  }
  const at = (name: string, connections: number) => figures.get(`${name} ${connections}`) ?? empty()
  const bareOf = ({ target }: Subject) =>
    `bare limit on ${target.on === 'node' ? 'miniflare' : target.on}, grouped commits`
  const rows = subjects.map((subject) => {
    const own = at(subject.name, 32)
    return [
      subject.name,
      ...CONNECTIONS.map((connections) => withSpread(at(subject.name, connections).perSecond)),
      ...CONNECTIONS.map((connections) => {
        const { p50Ms, p99Ms } = at(subject.name, connections)
        return `${number(median(p50Ms), 1)} / ${number(median(p99Ms), 1)}`
      }),
      number(median(own.cpuUs)),
      number(median(own.clientCpu), 2),
      ratio(median(own.perSecond), median(at(bareOf(subject), 32).perSecond)),
    ]
  })
  return {
    title: 'submit: durable acknowledged submits per second over HTTP (p50 / p99 in ms)',
    text: table([
      ['', '1 conn.', '8', '32', 'ms at 1', 'ms at 8', 'ms at 32', 'CPU us', 'client CPU', 'of bare'],
      ...rows,
    ]),
    notes: [
      'CPU us: user and system time of server processes (runtime and Node) for one submit at 32 connections',
      "of bare: at 32 connections, of the bare limit with grouped commits on the same runtime (peers: miniflare's)",
      'client CPU: of one core, used by the client at 32 connections; the provider of the bench is in the same process',
    ],
    data: Object.fromEntries(figures),
  }
}

const empty = (): Figures => ({ perSecond: [], p50Ms: [], p99Ms: [], cpuUs: [], clientCpu: [] })

const measure = async (
  subject: Subject,
  connections: number,
  seconds: number,
  figures: Map<string, Figures>,
): Promise<void> => {
  const key = `${subject.name} ${connections}`
  const seen = figures.get(key) ?? empty()
  figures.set(key, seen)
  const cpuBefore = cpuSeconds(subject.target.pids)
  const result = await load({ ...subject, connections, seconds })
  seen.perSecond.push(result.perSecond)
  seen.p50Ms.push(result.p50Ms)
  seen.p99Ms.push(result.p99Ms)
  seen.cpuUs.push(((cpuSeconds(subject.target.pids) - cpuBefore) / Math.max(1, result.done)) * 1e6)
  seen.clientCpu.push(result.clientCpuShare)
}
