import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { monthOf } from '../../../src/core/calendar.ts'
import type { Hold } from '../../../src/core/hold.ts'
import {
  accountOf,
  alertsDue,
  type Budget,
  bookEntry,
  bookedMicros,
  type Entry,
  entryOf,
  type Ledger,
  moveHold,
  scopesOf,
  shortForHold,
  shortForStart,
  usedIn,
  type Window,
  windowKey,
  withAlerted,
} from '../../../src/core/ledger.ts'

const DAY = '2026-11-21'
const budget = (limitMicros: number, window: Window = 'total', alertAt: number[] = []): Budget => ({
  limitMicros,
  window,
  alertAt,
  alerted: {},
})
const settled = (micros: number, day = DAY, heldMicros = micros): Entry => {
  const entry = entryOf({ micros: heldMicros, day }, heldMicros, micros, day)
  if (!entry) throw new Error('nothing was bought')
  return entry
}

describe('the line of an attempt', () => {
  const held = { micros: 60, day: DAY }
  test.each([
    ['known: what it cost', held, 60, 60, { kind: 'settled', settledMicros: 60, overHoldMicros: 0 }],
    [
      'above the hold: all of it, and by how much',
      held,
      60,
      100,
      { kind: 'settled', settledMicros: 100, overHoldMicros: 40 },
    ],
    ['unknown: the estimate', held, 60, null, { kind: 'presumed', presumedMicros: 60, settledMicros: 0 }],
    [
      'unknown without a price: counted, in no sum',
      { micros: 0, day: DAY },
      null,
      null,
      { kind: 'unpriced', unpriced: 1 },
    ],
    [
      'a price learnt at the end',
      { micros: 0, day: DAY },
      null,
      80,
      { kind: 'settled', settledMicros: 80, overHoldMicros: 80 },
    ],
  ])('is, where the cost is %s', (_name, hold, estimate, cost, expected) => {
    expect(entryOf(hold, estimate, cost, '2026-11-22')).toMatchObject({ ...expected, day: DAY, attempts: 1 })
  })

  test.each([
    ['nothing was bought', held, 0],
    ['all it bought is in the books', null, null],
  ])('is none where %s', (_name, hold, cost) => expect(entryOf(hold, 60, cost, DAY)).toBeNull())
})

describe('room', () => {
  test('is up to the limit and not a micro more', () => {
    const ledger: Ledger = new Map()
    accountOf(ledger, 'instance').budget = budget(100)
    bookEntry(ledger, ['instance'], settled(30))
    moveHold(ledger, ['instance'], null, { micros: 20, day: null })
    moveHold(ledger, ['instance'], null, { micros: 10, day: DAY })
    expect(shortForHold(ledger, ['instance'], 40, DAY)).toBeNull()
    expect(shortForHold(ledger, ['instance'], 41, DAY)).toMatchObject({
      scope: 'instance',
      spentMicros: 30,
      heldMicros: 30,
    })
    expect(shortForStart(ledger, ['instance'], 60, DAY)).toBeNull()
    expect(shortForStart(ledger, ['instance'], 61, DAY)).toMatchObject({ scope: 'instance', heldMicros: 10 })
  })

  test('is told of the narrower budget where both are short', () => {
    const ledger: Ledger = new Map()
    accountOf(ledger, 'instance').budget = budget(1)
    accountOf(ledger, 'project:p').budget = budget(1)
    expect(shortForHold(ledger, scopesOf('p'), 2, DAY)?.scope).toBe('project:p')
    expect(shortForHold(ledger, scopesOf('q'), 2, DAY)?.scope).toBe('instance')
    expect(shortForHold(ledger, scopesOf('q'), 0, DAY)).toBeNull()
  })

  test('comes back with the next window, but for what still waits', () => {
    const ledger: Ledger = new Map()
    accountOf(ledger, 'instance').budget = budget(100, 'day')
    bookEntry(ledger, ['instance'], settled(60))
    moveHold(ledger, ['instance'], null, { micros: 40, day: null })
    expect(shortForHold(ledger, ['instance'], 1, DAY)).not.toBeNull()
    expect(shortForHold(ledger, ['instance'], 60, '2026-11-22')).toBeNull()
    expect(shortForHold(ledger, ['instance'], 61, '2026-11-22')).not.toBeNull()
  })
})

describe('alerts', () => {
  test('are due once per share and window', () => {
    const ledger: Ledger = new Map()
    const account = accountOf(ledger, 'instance')
    account.budget = budget(100, 'day', [1, 0.07, 0.5])
    expect(alertsDue(account, DAY)).toEqual([])
    bookEntry(ledger, ['instance'], settled(7))
    expect(alertsDue(account, DAY)).toEqual([0.07])
    account.budget = withAlerted(account.budget, DAY, [0.07])
    expect(alertsDue(account, DAY)).toEqual([])
    bookEntry(ledger, ['instance'], settled(93))
    expect(alertsDue(account, DAY)).toEqual([0.5, 1])
    bookEntry(ledger, ['instance'], settled(10, '2026-11-22'))
    expect(alertsDue(account, '2026-11-22')).toEqual([0.07])
  })

  test('remember the window before, in which attempts may still end, and no more', () => {
    let known = budget(100, 'day', [0.5])
    for (const day of ['2026-11-19', '2026-11-20', '2026-11-21', '2026-11-22']) known = withAlerted(known, day, [0.5])
    expect(Object.keys(known.alerted).sort()).toEqual(['2026-11-20', '2026-11-21', '2026-11-22'])
  })
})

/** A job of the model: what its row says. */
type Row = { project: string | null; estimate: number; held: Hold | null }
type Line = { project: string | null; entry: Entry }

const days = ['2026-11-28', '2026-11-29', '2026-11-30', '2026-12-01', '2026-12-02']
const action = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('submit' as const),
      estimate: fc.nat(40),
      project: fc.constantFrom(null, 'p', 'q'),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('start' as const), pick: fc.nat() }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('end' as const), pick: fc.nat(), cost: fc.option(fc.nat(60)) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('drop' as const), pick: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('move' as const), pick: fc.nat(), estimate: fc.nat(40) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('day' as const), day: fc.nat(days.length - 1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('window' as const),
      scope: fc.constantFrom('instance', 'project:p'),
      window: fc.constantFrom<Window>('day', 'month', 'total'),
    }),
  },
)

type Step = typeof action extends fc.Arbitrary<infer T> ? T : never

/** The shell as the Instance does it: rows beside the mirror, so that the one can be checked against the other. */
class History {
  readonly rows: Row[] = []
  readonly lines: Line[] = []
  readonly budgets = new Map<string, Budget>([
    ['instance', budget(100, 'day')],
    ['project:p', budget(60, 'month')],
  ])
  ledger: Ledger = new Map()
  today = days[0] ?? ''

  constructor() {
    this.crash()
  }

  crash(): void {
    this.ledger = new Map()
    for (const [scope, known] of this.budgets) accountOf(this.ledger, scope).budget = known
    for (const { project, entry } of this.lines) bookEntry(this.ledger, scopesOf(project), entry)
    for (const { project, held } of this.rows) moveHold(this.ledger, scopesOf(project), null, held)
  }

  change(row: Row, to: Hold | null): void {
    moveHold(this.ledger, scopesOf(row.project), row.held, to)
    row.held = to
  }

  apply(step: Step): void {
    const waiting = this.rows.filter(({ held }) => held?.day === null)
    const begun = this.rows.filter(({ held }) => held !== null && held.day !== null)
    if (step.do === 'submit') this.submit(step)
    else if (step.do === 'day') this.today = days[step.day] ?? this.today
    else if (step.do === 'crash') this.crash()
    else if (step.do === 'window') {
      const known = { ...(this.budgets.get(step.scope) ?? budget(0)), window: step.window }
      this.budgets.set(step.scope, known)
      accountOf(this.ledger, step.scope).budget = known
    } else if (step.do === 'end') this.end(begun[step.pick % begun.length], step.cost)
    else if (step.do === 'drop') {
      const row = waiting[step.pick % waiting.length]
      if (row) this.change(row, null)
    } else if (step.do === 'start') this.start(waiting[step.pick % waiting.length])
    else this.swap(waiting[step.pick % waiting.length], step.estimate)
  }

  submit({ estimate, project }: { estimate: number; project: string | null }): void {
    if (shortForHold(this.ledger, scopesOf(project), estimate, this.today)) return
    const row: Row = { project, estimate, held: null }
    this.rows.push(row)
    this.change(row, { micros: estimate, day: null })
  }

  start(row: Row | undefined): void {
    if (!row || shortForStart(this.ledger, scopesOf(row.project), row.estimate, this.today)) return
    this.change(row, { micros: row.estimate, day: this.today })
  }

  end(row: Row | undefined, cost: number | null): void {
    if (!row) return
    const entry = entryOf(row.held, row.estimate, cost, this.today)
    if (entry) {
      bookEntry(this.ledger, scopesOf(row.project), entry)
      this.lines.push({ project: row.project, entry })
    }
    this.change(row, null)
  }

  swap(row: Row | undefined, estimate: number): void {
    if (!row) return
    const { held } = row
    this.change(row, null)
    const short = shortForHold(this.ledger, scopesOf(row.project), estimate, this.today)
    if (!short) row.estimate = estimate
    this.change(row, short ? held : { micros: estimate, day: null })
  }
}

const sum = (values: number[]): number => values.reduce((all, value) => all + value, 0)
const inScope = (scope: string, project: string | null): boolean => scopesOf(project).includes(scope)

/** Spent and begun in a window, counted from the rows alone. */
const usedByRows = ({ rows, lines }: History, scope: string, window: Window, day: string) => {
  const isIn = (other: string): boolean => windowKey(window, other) === windowKey(window, day)
  const ours = lines.filter(({ project, entry }) => inScope(scope, project) && isIn(entry.day))
  const held = rows.filter((row) => inScope(scope, row.project) && row.held?.day && isIn(row.held.day))
  return {
    spent: sum(ours.map(({ entry }) => bookedMicros(entry))),
    over: sum(ours.map(({ entry }) => entry.overHoldMicros)),
    started: sum(held.map(({ held: hold }) => hold?.micros ?? 0)),
  }
}

describe('over any history of submits, starts, ends, moves, days and crashes', () => {
  test('the mirror says what the rows say', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (steps) => {
        const history = new History()
        for (const step of steps) history.apply(step)
        for (const scope of ['instance', 'project:p', 'project:q']) {
          const account = accountOf(history.ledger, scope)
          for (const window of ['day', 'month', 'total'] as const) {
            const used = usedIn(account, window, history.today)
            const rows = usedByRows(history, scope, window, history.today)
            expect([used.spentMicros, used.startedMicros]).toEqual([rows.spent, rows.started])
          }
          const waits = history.rows.filter((row) => inScope(scope, row.project) && row.held?.day === null)
          expect(account.waitingMicros).toBe(sum(waits.map(({ held }) => held?.micros ?? 0)))
        }
      }),
    )
  })

  test('no window of a budget holds and spends more than its limit, but for what a provider took above the hold', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 120 }), (steps) => {
        const history = new History()
        const kept = steps.filter((step) => step.do !== 'window')
        for (const step of kept) {
          history.apply(step)
          for (const [scope, { limitMicros, window }] of history.budgets)
            for (const day of days) {
              const { spent, started, over } = usedByRows(history, scope, window, day)
              expect(spent + started).toBeLessThanOrEqual(limitMicros + over)
            }
        }
      }),
    )
  })

  test('at rest nothing is held', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80 }), (steps) => {
        const history = new History()
        for (const step of steps) history.apply(step)
        for (const row of history.rows) {
          if (row.held?.day === null) history.change(row, null)
          else if (row.held) history.end(row, null)
        }
        for (const account of history.ledger.values())
          expect([account.waitingMicros, account.runningMicros.size]).toEqual([0, 0])
      }),
    )
  })
})

test('a month is the sum of its days', () => {
  const ledger: Ledger = new Map()
  for (const [i, day] of days.entries()) bookEntry(ledger, ['instance'], settled(10 ** i, day))
  const november = days.flatMap((day, i) => (monthOf(day) === '2026-11' ? [10 ** i] : []))
  expect(usedIn(accountOf(ledger, 'instance'), 'month', '2026-11-30').spentMicros).toBe(sum(november))
})
