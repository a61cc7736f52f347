import { type AttemptRef, fromWire, type Report, type ReportReply, refText, toWire } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import type { InstanceRpc } from './lane-rpc.ts'

/**
 * What a lane has to tell its Instance. Reports of the same moment travel in one call; a call that fails is repeated
 * until it is heard, for an outcome must not be lost. Progress is only worth its newest state: it waits a little for a newer
 * one or for the end, whatever else is sent meanwhile, and is dropped on failure.
 */
export class Outbox {
  readonly #lane: number
  readonly #instance: () => InstanceRpc
  readonly #bornAtMs: number
  readonly #heard: (sent: Report[], reply: ReportReply) => void
  readonly #ends: Of<'end'>[] = []
  /** Waits for something newer. */
  readonly #fresh = new Map<string, Of<'progress'>>()
  /** Goes out. */
  readonly #progress = new Map<string, Of<'progress'>>()
  #isClosed = false
  #sending: Promise<void> | null = null
  #soon: Promise<void> | null = null

  /** `instance` makes a new stub each time: one that has failed stays broken. */
  constructor(
    lane: number,
    instance: () => InstanceRpc,
    bornAtMs: number,
    heard: (sent: Report[], reply: ReportReply) => void,
  ) {
    this.#lane = lane
    this.#instance = instance
    this.#bornAtMs = bornAtMs
    this.#heard = heard
  }

  /** Queues a report and resolves when nothing is left to send, or, for progress, when its time is over. */
  post(report: Report): Promise<void> {
    const key = refText(report)
    this.#fresh.delete(key)
    if (report.kind === 'end') {
      this.#progress.delete(key)
      this.#ends.push(report)
      return this.#send()
    }
    if (!report.rate) {
      this.#fresh.set(key, report)
      return this.#sendSoon()
    }
    // What the provider's rate headers said concerns the calls to come.
    this.#progress.set(key, report)
    return this.#send()
  }

  /** What has ended here but was not yet heard. */
  holds(ref: AttemptRef): boolean {
    return this.#ends.some((report) => refText(report) === refText(ref))
  }

  /** Tells nothing more, and hears no answer to what it has told. */
  close(): void {
    this.#isClosed = true
    this.#ends.length = 0
    this.#fresh.clear()
    this.#progress.clear()
  }

  #send(): Promise<void> {
    this.#sending ??= this.#deliver().finally(() => {
      this.#sending = null
    })
    return this.#sending
  }

  #sendSoon(): Promise<void> {
    this.#soon ??= pause(LIMITS.progressDelayMs).then(() => {
      this.#soon = null
      for (const [key, report] of this.#fresh) this.#progress.set(key, report)
      this.#fresh.clear()
      return this.#progress.size > 0 ? this.#send() : undefined
    })
    return this.#soon
  }

  async #deliver(): Promise<void> {
    let waitMs: number = LIMITS.reportRetryMs
    // A macrotask: attempts that end together are told together.
    await pause(0)
    while (this.#ends.length > 0 || this.#progress.size > 0) {
      const ends = [...this.#ends]
      const reports: Report[] = [...this.#progress.values(), ...ends]
      this.#progress.clear()
      try {
        const reply = await this.#instance().report(this.#lane, toWire(reports), this.#bornAtMs)
        if (this.#isClosed) return
        this.#ends.splice(0, ends.length)
        waitMs = LIMITS.reportRetryMs
        this.#heard(reports, fromWire(reply))
      } catch {
        await pause(waitMs)
        waitMs = Math.min(waitMs * 2, LIMITS.reportRetryMaxMs)
      }
    }
  }
}

type Of<K extends Report['kind']> = Extract<Report, { kind: K }>

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
