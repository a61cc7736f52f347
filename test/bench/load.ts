import { connect, type Socket } from 'node:net'
import { quantile } from './statistics.ts'
import { createReader, statusOf } from './wire.ts'

/** A closed-loop client: each connection sends its next request when the last is answered. Keep-alive, no pipelining. */

export type Load = {
  url: URL
  /** What every connection sends, or what comes next of all of them together. */
  request: Buffer | (() => Buffer)
  connections: number
  /** Ends after so many requests or seconds, whichever is given. */
  requests?: number
  seconds?: number
}

export type LoadResult = {
  done: number
  seconds: number
  perSecond: number
  p50Ms: number
  p99Ms: number
  /** Of one core, used by this whole process while the load ran. */
  clientCpuShare: number
}

/** Throws when the server refuses: a refusal is cheap, and a rate of refusals says nothing. */
export const load = async (plan: Load): Promise<LoadResult> => {
  const sockets = await Promise.all(Array.from({ length: plan.connections }, () => open(plan.url)))
  const latencies: number[] = []
  const { request } = plan
  const nextRequest = typeof request === 'function' ? request : () => request
  const budget = { left: plan.requests ?? Number.POSITIVE_INFINITY }
  const cpuBefore = process.cpuUsage()
  const startedAt = performance.now()
  const endAt = plan.seconds === undefined ? Number.POSITIVE_INFINITY : startedAt + plan.seconds * 1000
  try {
    await Promise.all(sockets.map((socket) => drive(socket, nextRequest, budget, endAt, latencies)))
  } finally {
    for (const socket of sockets) socket.destroy()
  }
  const seconds = (performance.now() - startedAt) / 1000
  const cpu = process.cpuUsage(cpuBefore)
  return {
    done: latencies.length,
    seconds,
    perSecond: latencies.length / seconds,
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    clientCpuShare: (cpu.user + cpu.system) / 1e6 / seconds,
  }
}

const open = (url: URL): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true })
    socket.once('error', reject).once('connect', () => resolve(socket))
  })

const drive = (
  socket: Socket,
  nextRequest: () => Buffer,
  budget: { left: number },
  endAt: number,
  latencies: number[],
): Promise<void> =>
  new Promise((resolve, reject) => {
    let sentAt = 0
    const next = () => {
      const now = performance.now()
      if (budget.left <= 0 || now >= endAt) return resolve()
      budget.left -= 1
      sentAt = now
      socket.write(nextRequest())
    }
    const read = createReader(({ head, body }) => {
      latencies.push(performance.now() - sentAt)
      const status = statusOf(head)
      if (status < 200 || status > 299) return reject(new Error(`answered ${status}: ${body.toString().slice(0, 300)}`))
      next()
    })
    socket.on('data', read)
    socket.once('error', reject).once('close', () => reject(new Error('the server closed a connection')))
    next()
  })

/** One request on a connection of its own, and the body of its answer. */
export const exchange = async (url: URL, request: Buffer): Promise<string> => {
  const socket = await open(url)
  try {
    return await new Promise((resolve, reject) => {
      socket
        .on(
          'data',
          createReader(({ body }) => resolve(body.toString())),
        )
        .once('error', reject)
      socket.write(request)
    })
  } finally {
    socket.destroy()
  }
}
