import { initialLoad, type Limiter, type LimiterLoad, type LimiterRules } from '../core/admission.ts'
import { isWhole, paceOver } from '../core/pace.ts'
import { LIMITS } from '../limits.ts'
import type { Books } from './books.ts'

/**
 * Of whose calls: those of a model, with one credential where several are in service, else with whichever. `model` is with
 * its provider, as `openai/gpt-5-mini`.
 */
export type PaceOf = { provider: string; model: string; credential: string | null }

/** As a limiter, also where nothing has been learned yet. */
export type Pace = Limiter & { of: PaceOf }

type Kept = PaceOf & { rules: LimiterRules }

/**
 * What providers that count by model have taught of their models: which of them are narrowed by themselves. Their loads are
 * among those of the other limiters. Most of the time there is none.
 */
export class ModelPaces {
  readonly #books: Books
  /** By the names of their limiters, in the order in which they were learned. */
  readonly #kept = new Map<string, Kept>()

  constructor(books: Books) {
    this.#books = books
  }

  get size(): number {
    return this.#kept.size
  }

  /** What was learned of a model with any credential, or with one; null where nothing was. */
  find(model: string, credential: string | null): Pace | null {
    if (this.#kept.size === 0) return null
    const of = { provider: model.slice(0, model.indexOf('/')), model, credential }
    const name = this.#nameOf(of)
    const kept = this.#kept.get(name)
    return kept ? { name, rules: kept.rules, load: this.#books.load(name), of } : null
  }

  /** The same, or one that narrows nothing yet. */
  findOrBegin(of: PaceOf): Pace {
    const known = this.find(of.model, of.credential)
    if (known) return known
    const { rules, fullAtMs } = paceOver(this.#configuredFor(of))
    return { name: this.#nameOf(of), rules, load: { ...initialLoad(), fullAtMs }, of }
  }

  ofProvider(provider: string): Pace[] {
    return [...this.#kept.values()].flatMap((of) =>
      of.provider === provider ? (this.find(of.model, of.credential) ?? []) : [],
    )
  }

  /** `running`: calls under way, asked for where it is new. Answers the load as it is kept. */
  keep({ name, rules, of }: Pace, load: LimiterLoad, running: () => number): LimiterLoad {
    const kept = this.#kept.has(name) ? load : { ...load, running: running() }
    this.#kept.set(name, { ...of, rules })
    this.#books.setLoad(name, kept)
    return kept
  }

  /** Takes up one that was stored; other limiters are left alone. */
  restore(name: string): void {
    const of = this.#parse(name)
    if (of && this.#books.countsByModel(of.provider)) this.#kept.set(name, { ...of, ...this.#rulesFor(of) })
  }

  drop(name: string): void {
    this.#kept.delete(name)
  }

  clear(): void {
    this.#kept.clear()
  }

  /** Whom to forget, those without effect first, then the oldest, so that no more are kept than there may be. */
  surplus(now: number): string[] {
    const over = this.#kept.size - LIMITS.pacesRemembered
    if (over <= 0) return []
    const names = [...this.#kept.keys()]
    const idle = names.filter((name) => isWhole(this.#books.load(name), now))
    return idle.length >= over ? idle : names.slice(0, over)
  }

  /** The limits were configured anew. */
  configure(): void {
    for (const [name, of] of this.#kept) this.#kept.set(name, { ...of, ...this.#rulesFor(of) })
  }

  /** By the names of their limiters. */
  rules(): [name: string, rules: LimiterRules][] {
    return [...this.#kept].map(([name, { rules }]) => [name, rules])
  }

  #rulesFor(of: PaceOf): { rules: LimiterRules } {
    return { rules: paceOver(this.#configuredFor(of)).rules }
  }

  #configuredFor({ provider, model, credential }: PaceOf): Limiter[] {
    const configured = this.#books.configured(model)
    return credential === null ? configured : [...configured, this.#books.credentialLimiter(provider, credential)]
  }

  /** `…:provider:openai[:credential:main]:pace:gpt-5-mini`: no limiter that is configured bears such a name. */
  #nameOf({ provider, model, credential }: PaceOf): string {
    const books = this.#books
    const account = credential === null ? books.limiter(provider) : books.credentialName(provider, credential)
    return `${account}:pace:${model.slice(provider.length + 1)}`
  }

  /** Whose pace a limiter is, by its name; null where it is none. No provider's and no credential's name has a colon. */
  #parse(name: string): PaceOf | null {
    const prefix = this.#books.limiter('')
    if (!name.startsWith(prefix)) return null
    const [, provider, , credential, model] =
      /^([^:]+)(:credential:([^:]+))?:pace:(.+)$/s.exec(name.slice(prefix.length)) ?? []
    if (provider === undefined || model === undefined) return null
    return { provider, model: `${provider}/${model}`, credential: credential ?? null }
  }
}
