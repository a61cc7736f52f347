import { Agent, createServer, type IncomingMessage, request } from 'node:http'
import { startChild } from './processes.ts'

/**
 * What an application has to write around a queue library to offer what the product offers: an HTTP front that answers once
 * the job is durable, and a worker that makes the provider's call and records the end. Run as a process of its own.
 *
 * `POST /jobs` runs, `POST /submits` is queued where no worker looks; `GET` counts what was taken and has not ended.
 */
export type PeerPlan = { kind: 'bullmq' | 'pg-boss'; port: number; callUrl: string; concurrency: number }

export type PeerApp = { url: URL; pid: number; stop: () => Promise<void> }

export const startPeerApp = async (plan: PeerPlan): Promise<PeerApp> => {
  const child = await startChild(process.execPath, [import.meta.filename, JSON.stringify(plan)], {
    ready: /ready (\S+)/,
  })
  return { ...child, url: new URL(child.ready) }
}

type Queues = { add: (queue: 'jobs' | 'submits', data: object) => Promise<unknown> }

const taken = { jobs: 0, ended: 0 }

const bullmq = async (plan: PeerPlan, call: (data: unknown) => Promise<unknown>): Promise<Queues> => {
  const { Queue, Worker } = await import('bullmq')
  const connection = { host: '127.0.0.1', port: plan.port, maxRetriesPerRequest: null }
  const queues = { jobs: new Queue('jobs', { connection }), submits: new Queue('submits', { connection }) }
  const worker = new Worker('jobs', (job) => call(job.data), { connection, concurrency: plan.concurrency })
  worker.on('completed', () => {
    taken.ended += 1
  })
  return { add: (queue, data) => queues[queue].add('image', data) }
}

const pgBoss = async (plan: PeerPlan, call: (data: unknown) => Promise<unknown>): Promise<Queues> => {
  const { PgBoss } = await import('pg-boss')
  const boss = new PgBoss({ connectionString: `postgres://postgres@127.0.0.1:${plan.port}/postgres`, max: 20 })
  boss.on('error', (error) => process.stderr.write(`${error}\n`))
  await boss.start()
  for (const queue of ['jobs', 'submits']) await boss.createQueue(queue)
  void workAsFastAsItCan(boss, plan.concurrency, call)
  return { add: (queue, data) => boss.send(queue, data) }
}

type Boss = {
  fetch(name: string, options: { batchSize: number }): Promise<{ id: string; data: unknown }[]>
  complete(name: string, ids: string[]): Promise<unknown>
}

/** `work()` looks every half second at best, which would measure the pause: this loop fetches as soon as a batch is done. */
const workAsFastAsItCan = async (boss: Boss, batchSize: number, call: (data: unknown) => Promise<unknown>) => {
  for (;;) {
    const jobs = await boss.fetch('jobs', { batchSize })
    await Promise.all(jobs.map((job) => call(job.data)))
    if (jobs.length > 0)
      await boss.complete(
        'jobs',
        jobs.map((job) => job.id),
      )
    else await new Promise((resolve) => setTimeout(resolve, 5))
    taken.ended += jobs.length
  }
}

/** node:http with keep-alive: quicker than the built-in fetch. */
const caller = (url: string, connections: number) => {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  return (data: unknown): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const body = JSON.stringify(data)
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
      const sent = request(url, { method: 'POST', agent, headers }, (response) => {
        textOf(response).then((text) => resolve(JSON.parse(text)), reject)
      })
      sent.once('error', reject).end(body)
    })
}

const textOf = async (message: IncomingMessage): Promise<string> => {
  let text = ''
  for await (const chunk of message.setEncoding('utf8')) text += chunk
  return text
}

const serve = async (plan: PeerPlan): Promise<void> => {
  const open = plan.kind === 'bullmq' ? bullmq : pgBoss
  const queues = await open(plan, caller(plan.callUrl, plan.concurrency))
  const server = createServer({ noDelay: true, keepAliveTimeout: 60_000 }, async (request, response) => {
    const json = (status: number, body: object) => {
      const text = JSON.stringify(body)
      response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
      response.end(text)
    }
    if (request.method === 'GET') return json(200, { unfinished: taken.jobs - taken.ended })
    const queue = request.url === '/jobs' ? 'jobs' : 'submits'
    try {
      await queues.add(queue, JSON.parse(await textOf(request)) as object)
      if (queue === 'jobs') taken.jobs += 1
      json(202, { status: 'queued' })
    } catch (error) {
      json(500, { error: String(error) })
    }
  })
  server.listen(0, '127.0.0.1', () => {
    const address = server.address()
    process.stdout.write(`ready http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}\n`)
  })
  process.once('SIGTERM', () => process.exit(0))
}

if (import.meta.main) await serve(JSON.parse(process.argv[2] ?? '{}') as PeerPlan)
