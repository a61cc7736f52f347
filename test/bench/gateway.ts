import { DIRECT, type Gateway, nameOf, startGateways } from './gateways.ts'
import { load } from './load.ts'
import { cpuSeconds, residentBytes } from './processes.ts'
import type { Section } from './section.ts'
import { median, number, ratio, table, withSpread } from './statistics.ts'
import type { World } from './world.ts'

/** Chats through the gateway beside Portkey's and a bare proxy, in one piece and as streams, taking turns. */

const CONNECTIONS = [1, 16, 64] as const
/** At which requests per second and CPU are compared. */
const BUSY = 16
const MODES = ['whole', 'stream'] as const
type Mode = (typeof MODES)[number]

type Figures = {
  perSecond: number[]
  p50Ms: number[]
  p99Ms: number[]
  cpuUs: number[]
  addedP50Ms: number[]
  addedP99Ms: number[]
}

export const measureGateway = async (world: World, rounds: number, seconds: number): Promise<Section[]> => {
  const gateways = await startGateways(world)
  const figures = new Map<string, Figures>()
  const at = (mode: Mode, name: string, connections: number): Figures => {
    const key = `${mode} ${name} ${connections}`
    const seen = figures.get(key) ?? { perSecond: [], p50Ms: [], p99Ms: [], cpuUs: [], addedP50Ms: [], addedP99Ms: [] }
    figures.set(key, seen)
    return seen
  }
  for (const one of gateways)
    for (const mode of MODES) await load({ url: one.url, request: one[mode], connections: 16, requests: 400 })
  for (let round = 0; round < rounds; round += 1) {
    for (const mode of MODES) {
      for (const connections of CONNECTIONS) {
        const direct = at(mode, DIRECT, connections)
        // The provider itself comes first in each turn: the others are told by what they add to it.
        for (const one of gateways)
          await measure(one, mode, connections, seconds, at(mode, one.name, connections), direct)
      }
    }
  }
  const memory = new Map(gateways.map(({ name, pids }) => [name, residentBytes(pids)]))
  for (const one of gateways) await one.verify()
  return MODES.map((mode) => report(mode, gateways, (name, connections) => at(mode, name, connections), memory))
}

const measure = async (
  gateway: Gateway,
  mode: Mode,
  connections: number,
  seconds: number,
  seen: Figures,
  direct: Figures,
): Promise<void> => {
  const cpuBefore = cpuSeconds(gateway.pids)
  const result = await load({ url: gateway.url, request: gateway[mode], connections, seconds })
  seen.perSecond.push(result.perSecond)
  seen.p50Ms.push(result.p50Ms)
  seen.p99Ms.push(result.p99Ms)
  seen.cpuUs.push(((cpuSeconds(gateway.pids) - cpuBefore) / Math.max(1, result.done)) * 1e6)
  seen.addedP50Ms.push(result.p50Ms - (direct.p50Ms.at(-1) ?? 0))
  seen.addedP99Ms.push(result.p99Ms - (direct.p99Ms.at(-1) ?? 0))
}

const report = (
  mode: Mode,
  gateways: Gateway[],
  at: (name: string, connections: number) => Figures,
  memory: Map<string, number>,
): Section => {
  const peer = at(nameOf.portkey('Node'), BUSY)
  const added = (name: string, connections: number) => {
    const { addedP50Ms, addedP99Ms } = at(name, connections)
    return name === DIRECT ? '-' : `${number(median(addedP50Ms), 2)} / ${number(median(addedP99Ms), 2)}`
  }
  const rows = gateways.map(({ name }) => [
    name,
    ...CONNECTIONS.map((connections) => withSpread(at(name, connections).perSecond)),
    ...CONNECTIONS.map((connections) => added(name, connections)),
    number(median(at(name, BUSY).cpuUs)),
    number((memory.get(name) ?? 0) / 2 ** 20),
    ratio(median(at(name, BUSY).perSecond), median(peer.perSecond)),
    ratio(median(at(name, BUSY).cpuUs), median(peer.cpuUs)),
  ])
  const { p50Ms } = at(DIRECT, 1)
  const connections = CONNECTIONS.map((count) => `ms added at ${count}`)
  return {
    title: `gateway: chats per second ${mode === 'whole' ? 'in one piece' : 'as streams of 22 chunks'}, and the latency that is added (p50 / p99 in ms)`,
    text: table([
      ['', '1 conn.', '16', '64', ...connections, 'CPU us', 'MiB', 'of Portkey on Node', 'its CPU'],
      ...rows,
    ]),
    notes: [
      `added: the latency through a gateway less that of the provider itself at as many connections, which at one is ${number(median(p50Ms), 2)} ms; a stream's is until its end`,
      'CPU us: user and system time of the gateway (runtime and Node) for one chat at 16 connections; MiB: resident at the end',
      'the product authenticates, keeps limits, holds and settles money under a budget, and logs; Portkey and the proxy keep nothing',
      ...ratiosOf(at),
    ],
    data: Object.fromEntries(
      gateways.flatMap(({ name }) => CONNECTIONS.map((count) => [`${name} ${count}`, at(name, count)])),
    ),
  }
}

/** Each beside Portkey where both run alike. */
const ratiosOf = (at: (name: string, connections: number) => Figures): string[] =>
  (
    [
      ['workerd', 'Node'],
      ['workerd', 'workerd'],
      ['miniflare', 'miniflare'],
    ] as const
  ).map(([on, peerOn]) => {
    const [own, peer] = [nameOf.product(on), nameOf.portkey(peerOn)]
    const of = (figure: keyof Figures, connections: number) =>
      ratio(median(at(own, connections)[figure]), median(at(peer, connections)[figure]))
    return `${own} beside ${peer}: ${of('perSecond', BUSY)} the chats/s and ${of('cpuUs', BUSY)} the CPU at ${BUSY}, ${of('addedP50Ms', 1)} the added latency at 1`
  })
