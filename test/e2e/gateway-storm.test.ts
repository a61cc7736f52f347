import { expect, test } from 'vitest'
import type { Job } from '../../src/contract/job.ts'
import { neverSay, startProduct } from './harness.ts'
import { CHAT, type Line, ledgerAtRest, micros, provisionLine, startOpenAiHere } from './line.ts'
import { type Heard, hear } from './line-client.ts'
import { allJobs, isOver, until } from './support.ts'

/** What may go wrong with a call, and how it is asked for; the rest goes well. */
const FAULTS = [
  '[[fail:429]] [[retry_after_ms:50]]',
  '[[fail_once:500]]',
  '[[fail:503]]',
  '[[cut_before]]',
  '[[cut_after]]',
  '[[cut:700]]',
  '[[cut:1500]]',
  '[[error_200]]',
  '[[error_event:server_error:4]]',
  '[[malformed:4]]',
  '[[truncated]]',
  '[[no_usage]]',
  '[[stall_stream:4]] [[slow:20]]',
  '[[leave]]',
]
const CONNECTIONS = 30
const CALLS_EACH = 10
const CALLS_BEFORE_KILL = 70

/** In micro-USD a token of GPT-5 mini: https://platform.openai.com/docs/pricing. */
const MICROS_PER_TOKEN = { prompt: 0.25, completion: 2 }

type Told = { tag: string; inFirstLife: boolean; heard: Heard }

const callOf = async (line: Line, tag: string, number: number): Promise<Heard> => {
  const fault = number % 3 === 0 ? (FAULTS[(number / 3) % FAULTS.length] ?? '') : ''
  const leaves = fault === '[[leave]]'
  const stream = leaves || fault.includes('stream') || fault.includes('event') || number % 2 === 0
  const content = neverSay(`storm ${tag} [[chunks:${10 + (number % 30)}]] ${leaves ? '[[slow:20]]' : fault}`)
  return hear(
    `${line.url}/chat/completions`,
    line.key,
    {
      model: CHAT,
      messages: [{ role: 'user', content }],
      metadata: { tag },
      deadline_s: 3,
      ...(stream ? { stream, stream_options: { include_usage: true } } : {}),
    },
    leaves ? { leaveAfter: 3 } : {},
  )
}

test('a storm of faults and a kill -9 leave books that are right, calls that are over and nobody who waits', {
  timeout: 110_000,
}, async () => {
  const emulator = await startOpenAiHere()
  const first = await startProduct()
  const line = await provisionLine(first, { openai: { url: emulator.url } })
  const told: Told[] = []
  let inFirstLife = true
  let begun = 0
  const connection = async (): Promise<void> => {
    for (let at = 0; at < CALLS_EACH; at += 1) {
      const number = begun++
      const bornInFirstLife = inFirstLife
      const heard = await callOf(line, `t${number}`, number)
      told.push({ tag: `t${number}`, inFirstLife: bornInFirstLife, heard })
      // Nobody is there: the client comes back when somebody is.
      if (heard.status === null && !up) await until(() => up, Boolean)
    }
  }
  let up = true
  const storm = Array.from({ length: CONNECTIONS }, connection)
  await until(
    () => told.length,
    (count) => count >= CALLS_BEFORE_KILL,
  )
  up = false
  await first.kill9()
  inFirstLife = false
  const second = await startProduct({ state: first.state, env: { PORT: new URL(first.url).port } })
  up = true
  await Promise.all(storm)

  expect(told.filter(({ heard }) => heard.end === 'hung')).toEqual([])
  // What the process took with it is given up when its lease is over.
  const user = line.root.withKey(line.key)
  const jobs = await until(
    () => allJobs(user, line.base),
    (all) => all.every(isOver),
  )
  expect(second.url).toBe(first.url)
  const ledger = await ledgerAtRest(line)
  expect([ledger.held_usd, ledger.difference_usd]).toEqual([0, 0])
  expect(emulator.stats().inflight).toBe(0)

  const byTag = Map.groupBy(jobs, (job: Job) => job.metadata['tag'] ?? '')
  for (const { tag } of told) expect(byTag.get(tag)?.length ?? 0, tag).toBeLessThanOrEqual(1)
  const records = new Map(emulator.stats().calls.map((record) => [record.id, record]))
  let compared = 0
  const lost: string[] = []
  for (const { tag, heard, inFirstLife: early } of told) {
    const record = heard.id === null ? undefined : records.get(heard.id)
    const isWhole = heard.status === 200 && heard.end === 'whole' && heard.error === null
    if (!isWhole || !record?.usageTold) continue
    const job = byTag.get(tag)?.[0]
    const cost = Math.round(
      record.tokens.prompt * MICROS_PER_TOKEN.prompt + record.tokens.completion * MICROS_PER_TOKEN.completion,
    )
    expect(micros(heard.usage?.cost_usd ?? 0), tag).toBe(cost)
    if (job?.status !== 'succeeded' && early) {
      lost.push(`${tag} ${job?.status ?? 'without a job'}`)
      continue
    }
    expect([tag, job?.status, micros(job?.cost_usd ?? 0)]).toEqual([tag, 'succeeded', cost])
    compared += 1
  }
  console.log(
    JSON.stringify({
      calls: told.length,
      jobs: Object.fromEntries([...Map.groupBy(jobs, ({ status }) => status)].map(([name, all]) => [name, all.length])),
      ends: Object.fromEntries(
        [...Map.groupBy(told, ({ heard }) => `${heard.end} ${heard.status} ${heard.error?.code ?? ''}`)].map(
          ([name, all]) => [name, all.length],
        ),
      ),
      compared,
      lost,
      ledger: { settled: ledger.settled_usd, presumed: ledger.presumed_usd },
    }),
  )
  expect(compared).toBeGreaterThan(CALLS_BEFORE_KILL)
  // An answer goes out before the books hear of it: what was under way in that moment is presumed, and no more than that.
  expect(lost.length).toBeLessThanOrEqual(CONNECTIONS)
})
