/** As many jobs are remembered; totals go on counting those that are not. */
export const maxJobs = 20_000

/** What has been handed to whoever asked for a job. */
export interface Handed {
  /** A well-formed answer to the request was handed to the client's connection in full. */
  responded: boolean
  /** The connection closed before an answer was handed to it in full. */
  closedUnanswered: boolean
  polls: number
  downloads: number
  webhooksDelivered: number
  webhooksFailed: number
}

export const nothingHanded = (): Handed => ({
  responded: false,
  closedUnanswered: false,
  polls: 0,
  downloads: 0,
  webhooksDelivered: 0,
  webhooksFailed: 0,
})

/** Keeps a job and its files by their ids, and drops the oldest above the bound. */
export function keep<Job extends { record: { id: string } }, File extends { id: string }>(
  jobs: Map<string, Job>,
  files: Map<string, File>,
  job: Job,
  filesOf: (job: Job) => readonly File[],
): void {
  jobs.set(job.record.id, job)
  for (const file of filesOf(job)) files.set(file.id, file)
  if (jobs.size <= maxJobs) return
  const [oldestId, oldest] = jobs.entries().next().value as [string, Job]
  jobs.delete(oldestId)
  for (const file of filesOf(oldest)) files.delete(file.id)
}
