/** How a put ended. `exists`: an object stands under the key already and was left alone. */
export type UploadOutcome = 'stored' | 'exists' | 'failed'

/** A put into R2 that is fed piece by piece, creates and never overwrites, and never throws. */
export type Upload = {
  /** False once the put has ended by itself and takes nothing more; `close` tells how. */
  write(chunk: Uint8Array): Promise<boolean>
  close(): Promise<UploadOutcome>
  /** Gives up; nothing is stored unless every byte had been written. */
  abort(): Promise<UploadOutcome>
}

export type PutOptions = Omit<R2PutOptions, 'onlyIf'>

const ONLY_NEW = { etagDoesNotMatch: '*' }

/** Stores bytes that are at hand. */
export const upload = (bucket: R2Bucket, key: string, bytes: Uint8Array, options: PutOptions): Promise<UploadOutcome> =>
  outcomeOf(bucket.put(key, bytes, { ...options, onlyIf: ONLY_NEW }))

const outcomeOf = (put: Promise<R2Object | null>): Promise<UploadOutcome> =>
  put.then(
    (object) => (object ? 'stored' : 'exists'),
    () => 'failed',
  )

/** `bytes` is the exact length: R2 takes no stream of unknown length. One that falls short or goes beyond it fails. */
export const openUpload = (bucket: R2Bucket, key: string, bytes: number, options: PutOptions): Upload => {
  const pipe = new FixedLengthStream(bytes)
  const writer = pipe.writable.getWriter()
  writer.closed.catch(() => {})
  const outcome = outcomeOf(bucket.put(key, pipe.readable, { ...options, onlyIf: ONLY_NEW }))
  // R2 may end without reading the stream, and a write to a stream that nobody reads never settles.
  const ended = outcome.then(() => false)
  return {
    write: (chunk) =>
      Promise.race([
        writer.write(chunk).then(
          () => true,
          () => false,
        ),
        ended,
      ]),
    async close() {
      const closed = writer.close().catch(() => {})
      await Promise.race([closed, ended])
      return outcome
    },
    async abort() {
      writer.abort(new Error('upload given up')).catch(() => {})
      return outcome
    },
  }
}
