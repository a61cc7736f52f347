import { runInDurableObject } from 'cloudflare:test'
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import type { MoneyOfRow, NewJob } from '../../../src/instance/job-rows.ts'
import { JobStore } from '../../../src/instance/job-store.ts'
import { instanceStub, openSite } from '../support/client.ts'

/** Whose turn it is, told from memory where a queue is known whole: it must be what the database would say. */

type State = 'waiting' | 'due' | 'running' | 'ended'
type Queued = { id: string; model: string; priority: number; tag: number; state: State }
type Step =
  | { kind: 'insert'; model: string; priority: number; tag: number; state: 'waiting' | 'due' }
  | { kind: 'move'; which: number; tag: number; state: State }
  | { kind: 'set back' }
  | { kind: 'ask'; model: string; priority: number; limit: number; after: number | null }

const model = fc.constantFrom('a/one', 'a/two')
const priority = fc.constantFrom(0, 5)
const tag = fc.integer({ min: 0, max: 12 }).map((n) => n / 3)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('insert' as const),
      model,
      priority,
      tag,
      state: fc.constantFrom('waiting' as const, 'waiting' as const, 'due' as const),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('move' as const),
      which: fc.nat(),
      tag,
      state: fc.constantFrom<State>('waiting', 'due', 'running', 'ended'),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'set back' as const }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('ask' as const),
      model,
      priority,
      limit: fc.integer({ min: 1, max: 8 }),
      after: fc.option(fc.nat(), { nil: null }),
    }),
  },
)
const histories = fc.array(
  fc.record({ steps: fc.array(step, { maxLength: 12 }), fails: fc.nat(9).map((n) => n === 0) }),
)

const SELECTED = 'SELECT * FROM jobs INDEXED BY jobs_queue'

test('the heads of a queue are those that stand first in it, whatever happens to its jobs', async () => {
  await openSite('prod')
  await runInDurableObject(instanceStub('prod'), (_instance, { storage }) => {
    const exec = vi.spyOn(storage.sql, 'exec')
    let asked = 0
    fc.assert(
      fc.property(histories, (history) => {
        storage.sql.exec('DELETE FROM jobs')
        const store = new JobStore(storage.sql)
        store.reload()
        let jobs: Queued[] = []
        for (const { steps, fails } of history) {
          const before = jobs
          try {
            storage.transactionSync(() => {
              store.begin()
              for (const one of steps) {
                jobs = take(store, jobs, one)
                if (one.kind === 'ask') asked += 1
              }
              store.flush()
              if (fails) throw ROLLED_BACK
            })
          } catch (error) {
            if (error !== ROLLED_BACK) throw error
            store.reload()
            jobs = before
          }
        }
      }),
    )
    const selected = exec.mock.calls.filter(([query]) => query.includes(SELECTED)).length
    exec.mockRestore()
    // Either way was gone often: about half of the histories know their queues whole.
    expect(asked).toBeGreaterThan(300)
    expect(selected).toBeGreaterThan(asked / 10)
    expect(asked - selected).toBeGreaterThan(asked / 10)
  })
})

const ROLLED_BACK = new Error('rolled back')

/** The jobs as they are after the step. */
const take = (store: JobStore, jobs: Queued[], one: Step): Queued[] => {
  if (one.kind === 'insert') {
    const id = `job_${String(jobs.length).padStart(4, '0')}`
    store.insert(newJob(id, one), NO_MONEY)
    return [...jobs, { ...one, id }]
  }
  if (one.kind === 'move') {
    const job = jobs[one.which % Math.max(1, jobs.length)]
    if (!job || job.state === 'ended') return jobs
    const moved = { ...job, tag: one.tag, state: one.state }
    move(store, moved)
    return jobs.map((other) => (other === job ? moved : other))
  }
  if (one.kind === 'set back') store.setBack(1000)
  else ask(store, jobs, one)
  return jobs
}

const ask = (
  store: JobStore,
  jobs: Queued[],
  { model, priority, limit, after }: Extract<Step, { kind: 'ask' }>,
): void => {
  const queue = jobs
    .filter((job) => job.model === model && job.priority === priority && job.state === 'waiting')
    .sort((a, b) => a.tag - b.tag || (a.id < b.id ? -1 : 1))
  const passed = after === null ? null : (queue[after % Math.max(1, queue.length)] ?? null)
  const ids = queue.map(({ id }) => id)
  const behind = passed === null ? ids : ids.slice(ids.indexOf(passed.id) + 1)
  const heads = store.heads(model, priority, queue.length, limit, passed)
  expect(heads.map(({ id }) => id)).toEqual(behind.slice(0, limit))
  for (const row of heads) expect([row.status, row.due_at_ms]).toEqual(['queued', null])
}

const DUE_AT_MS = 1_900_000_000_000
const NO_MONEY: MoneyOfRow = {
  estimate_micros: null,
  held_micros: null,
  held_day: null,
  spent_micros: 0,
  budget_scope: null,
}

const newJob = (id: string, { model, priority, tag, state }: Omit<Queued, 'id'>): NewJob => ({
  id,
  status: 'queued',
  due_at_ms: state === 'due' ? DUE_AT_MS : null,
  provider: 'a',
  model,
  tag,
  queued_at_ms: 1,
  tokens: 0,
  deadline_at_ms: DUE_AT_MS,
  created_at_ms: 1,
  type: 'image.generate@1',
  project: null,
  priority,
  request_id: 'req_1',
  input: '{}',
  wishes: '{"skipped":[]}',
  metadata: '{}',
})

const move = (store: JobStore, { id, model, tag, state }: Queued): void => {
  const lifecycle = {
    status: state === 'running' ? 'running' : state === 'ended' ? 'succeeded' : 'queued',
    dueAtMs: state === 'due' ? DUE_AT_MS : null,
    model,
    attempt: state === 'running' ? 1 : 0,
    counted: 0,
    resume: null,
    fault: null,
    startedAtMs: null,
    endedAtMs: state === 'ended' ? 2 : null,
  } as const
  store.save(id, lifecycle, { provider: 'a', tag, queuedAtMs: 1, lane: null }, NO_MONEY)
}
