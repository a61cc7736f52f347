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

/** `bytes` is the exact length: R2 takes no stream of unknown length. One that falls short or goes beyond it fails. */
export const openUpload = (
  bucket: R2Bucket,
  key: string,
  bytes: number,
  options: Omit<R2PutOptions, 'onlyIf'>,
): Upload => {
  const pipe = new FixedLengthStream(bytes)
  const writer = pipe.writable.getWriter()
  writer.closed.catch(() => {})
  const outcome: Promise<UploadOutcome> = bucket
    .put(key, pipe.readable, { ...options, onlyIf: { etagDoesNotMatch: '*' } })
    .then(
      (object) => (object ? 'stored' : 'exists'),
      () => 'failed',
    )
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
