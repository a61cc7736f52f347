import { count, newest, Sights, type Tally } from '../tally.ts'

/** What a test may ask about one accepted call. Times are Unix milliseconds on the emulator's clock. */
export interface Call {
  id: string
  model: string
  apiKey: string
  stream: boolean
  at: number
  endedAt: number | null
  /** The whole answer was handed to the client's connection. */
  answered: boolean
  /** The client closed the connection first. */
  clientLeft: boolean
  /** Whether the client was told the usage of the whole. */
  usageTold: boolean
}

interface Totals {
  /** Requests to the provider's own paths. */
  requests: number
  /** Calls accepted, which is to say billed. */
  accepted: number
  inflight: number
  peakInflight: number
  /** Calls turned away, by HTTP status; `cut` counts connections cut before acceptance. */
  rejected: Tally
  /** How often each directive took part in a call. */
  directives: Tally
  clientsLeft: number
}

/** `Made` is what a call generates and is billed for: all calls together have it as each of them does. */
export type CallStats<Made, Entry extends Call & Made> = Totals &
  Made & {
    /** Oldest first; the oldest are dropped above 20,000 and the totals keep counting them. */
    calls: Entry[]
  }

/** How a call ended: answered in full, left by its client, or cut by the emulator. */
export type Ending = 'answered' | 'left' | 'cut'

const maxCalls = 20_000

/** Remembers what was accepted and what of it was generated, in bounded room. */
export class CallLedger<Made extends { tokens: object }, Entry extends Call & Made> {
  readonly #calls: Entry[] = []
  readonly #sights = new Sights(maxCalls)
  readonly #totals: Totals = {
    requests: 0,
    accepted: 0,
    inflight: 0,
    peakInflight: 0,
    rejected: {},
    directives: {},
    clientsLeft: 0,
  }
  readonly #nothing: () => Made
  #made: Made

  constructor(nothing: () => Made) {
    this.#nothing = nothing
    this.#made = nothing()
  }

  countRequest(): void {
    this.#totals.requests += 1
  }

  accept(call: Omit<Entry, keyof Made | 'endedAt' | 'answered' | 'clientLeft' | 'usageTold'>): Entry {
    const open = { endedAt: null, answered: false, clientLeft: false, usageTold: false }
    const entry = { ...call, ...this.#nothing(), ...open } as unknown as Entry
    this.#totals.accepted += 1
    this.#totals.inflight += 1
    this.#totals.peakInflight = Math.max(this.#totals.peakInflight, this.#totals.inflight)
    this.#calls.push(entry)
    if (this.#calls.length > maxCalls) this.#calls.splice(0, maxCalls / 10)
    return entry
  }

  /** A call that came to nothing before anything was made, and is not billed after all. */
  takeBack(entry: Entry, now: number, why: string): void {
    entry.endedAt = now
    this.#calls.splice(this.#calls.indexOf(entry), 1)
    this.#totals.accepted -= 1
    this.#totals.inflight -= 1
    this.countRejected(why)
  }

  settle(entry: Entry, now: number, ending: Ending): void {
    if (entry.endedAt !== null) return
    entry.endedAt = now
    entry.answered = ending === 'answered'
    entry.clientLeft = ending === 'left'
    this.#totals.inflight -= 1
    if (ending === 'left') this.#totals.clientsLeft += 1
    this.#made = sumOf(this.#made, entry)
  }

  /** By status or, where there was none, in a word. */
  countRejected(how: number | string): void {
    count(this.#totals.rejected, how)
  }

  countDirectives(directives: ReadonlyMap<string, unknown>): void {
    for (const name of directives.keys()) count(this.#totals.directives, name)
  }

  isFirstSight(prompt: string): boolean {
    return this.#sights.isFirst(prompt)
  }

  /** A copy, with at most the newest `limit` calls. */
  stats(limit = maxCalls): CallStats<Made, Entry> {
    const { rejected, directives, ...totals } = this.#totals
    return {
      ...totals,
      rejected: { ...rejected },
      directives: { ...directives },
      ...this.#made,
      tokens: { ...this.#made.tokens },
      calls: newest(this.#calls, limit).map((call) => ({ ...call, tokens: { ...call.tokens } })),
    }
  }
}

/** Adds numbers up, name by name and at any depth. What `more` has besides is of no account. */
function sumOf<Made>(sums: Made, more: Made): Made {
  if (typeof sums === 'number') return (sums + Number(more)) as Made
  const names = Object.keys(sums as object) as (keyof Made)[]
  return Object.fromEntries(names.map((name) => [name, sumOf(sums[name], more[name])])) as Made
}
