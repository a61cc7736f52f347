import type { Fault } from '../contract/fault.ts'

/** A fault on its way to the one place that turns it into an answer. */
export class Refused extends Error {
  readonly fault: Fault
  readonly headers: Record<string, string>

  constructor(fault: Fault, headers: Record<string, string> = {}) {
    super(fault.code)
    this.fault = fault
    this.headers = headers
  }
}
