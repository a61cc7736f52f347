import type { Fault, Refusal } from '../contract/fault.ts'
import { quotaHeaders } from './quota-headers.ts'

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

/** As the Instance has refused it, with what it told of the room there is. */
export const refusedBy = ({ fault, quotas }: Refusal): Refused => new Refused(fault, quotas && quotaHeaders(quotas))
