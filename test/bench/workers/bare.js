import { DurableObject } from 'cloudflare:workers'

/**
 * The limit of the platform: the shape of the product with no product in it. A Worker, an object with one table, and
 * lanes of six that make one call and report in batches. No keys, checks, events, limits, leases or logs.
 */

const PER_LANE = 6

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url)
    const hub = env.HUB.getByName(pathname.startsWith('/jobs') ? 'jobs' : pathname)
    if (request.method === 'GET') return Response.json({ unfinished: await hub.unfinished() })
    const id = crypto.randomUUID()
    const body = await request.text()
    if (pathname === '/one') await hub.insertOne(id, body)
    else if (pathname === '/grouped') await hub.insertGrouped(id, body)
    else await hub.submit(id, body)
    return Response.json({ id, status: 'queued' }, { status: 202 })
  },
}

export class Hub extends DurableObject {
  #operations = []
  #running = 0
  #waiting = 0
  #lanes
  #replies = new Map()

  constructor(state, env) {
    super(state, env)
    this.#lanes = Array.from({ length: Math.ceil(env.CONCURRENCY / PER_LANE) }, () => 0)
    state.storage.sql.exec(`
      CREATE TABLE IF NOT EXISTS jobs (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, status TEXT NOT NULL, lane INTEGER, body TEXT NOT NULL, output TEXT
      );
      CREATE INDEX IF NOT EXISTS queue ON jobs (seq) WHERE status = 'queued'`)
  }

  async insertOne(id, body) {
    this.#insert(id, body)
  }

  insertGrouped(id, body) {
    return this.#apply(() => this.#insert(id, body))
  }

  submit(id, body) {
    return this.#apply(() => {
      this.#insert(id, body)
      this.#waiting += 1
    })
  }

  async unfinished() {
    return this.#waiting + this.#running
  }

  async report(lane, ends) {
    const assign = []
    this.#replies.set(lane, assign)
    await this.#apply(() => {
      for (const { id, output } of ends) {
        this.ctx.storage.sql.exec("UPDATE jobs SET status = 'done', output = ? WHERE id = ?", output, id)
      }
      this.#running -= ends.length
      this.#lanes[lane] -= ends.length
    })
    this.#replies.delete(lane)
    return assign
  }

  #insert(id, body) {
    this.ctx.storage.sql.exec("INSERT INTO jobs (id, status, body) VALUES (?, 'queued', ?)", id, body)
  }

  #apply(operation) {
    const { promise, resolve } = Promise.withResolvers()
    if (this.#operations.length === 0) setTimeout(() => this.#flush(), 0)
    this.#operations.push({ operation, resolve })
    return promise
  }

  #flush() {
    const group = this.#operations.splice(0)
    const assigned = new Map()
    this.ctx.storage.transactionSync(() => {
      for (const { operation } of group) operation()
      this.#claim(assigned)
    })
    for (const [lane, jobs] of assigned) {
      const reply = this.#replies.get(lane)
      if (reply) reply.push(...jobs)
      else this.ctx.waitUntil(this.env.LANE.getByName(String(lane)).assign(jobs))
    }
    for (const { resolve } of group) resolve()
  }

  #claim(assigned) {
    const room = Math.min(this.env.CONCURRENCY - this.#running, this.#waiting)
    if (room <= 0) return
    const heads = this.ctx.storage.sql.exec(
      "SELECT id, body FROM jobs WHERE status = 'queued' ORDER BY seq LIMIT ?",
      room,
    )
    for (const { id, body } of heads.toArray()) {
      const lane = this.#lanes.findIndex((load) => load < PER_LANE)
      this.ctx.storage.sql.exec("UPDATE jobs SET status = 'running', lane = ? WHERE id = ?", lane, id)
      this.#lanes[lane] += 1
      this.#running += 1
      this.#waiting -= 1
      assigned.set(lane, [...(assigned.get(lane) ?? []), { id, body }])
    }
  }
}

export class BareLane extends DurableObject {
  #ends = []
  #sending = null

  async assign(jobs) {
    for (const job of jobs) this.ctx.waitUntil(this.#run(job))
  }

  async #run({ id, body }) {
    const answer = await fetch(this.env.PROVIDER_URL, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    })
    this.#ends.push({ id, output: await answer.text() })
    this.#sending ??= this.#deliver().finally(() => {
      this.#sending = null
    })
    await this.#sending
  }

  async #deliver() {
    await new Promise((resolve) => setTimeout(resolve, 0))
    while (this.#ends.length > 0) {
      const ends = this.#ends.splice(0)
      const assign = await this.env.HUB.getByName('jobs').report(Number(this.ctx.id.name), ends)
      for (const job of assign) this.ctx.waitUntil(this.#run(job))
    }
  }
}
