import type { Assignment, AttemptRef, CredentialSecret, Report, ReportReply, Wire } from '../contract/rpc.ts'

/** What the Instance asks of a lane. Every call may be repeated. */
export type LaneRpc = {
  assign(assignments: Assignment[]): Promise<void>
  /** Those of the attempts that the lane drives, as `job/attempt`; and since when this lane's process lives. */
  check(attempts: AttemptRef[]): Promise<{ known: string[]; bornAtMs: number }>
  stop(attempts: AttemptRef[]): Promise<void>
  /** Asks the provider at once what became of an attempt. */
  poke(attempt: AttemptRef): Promise<void>
  /** How secrets are sealed now. Answers how many attempts the lane still holds whose seal is of another key than this. */
  renew(secrets: CredentialSecret[], keyId: string): Promise<number>
  destroy(): Promise<void>
}

/** What a lane asks of its Instance. Reports may be repeated; only the first counts. */
export type InstanceRpc = {
  report(lane: number, reports: Wire<Report[]>, bornAtMs: number): Promise<Wire<ReportReply>>
}
