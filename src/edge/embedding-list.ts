import type { EmbeddingList } from '../contract/embedding.ts'

/** Characters that are gathered before they are sent: a few vectors. */
const GATHERED_CHARACTERS = 64 * 1024

/**
 * The JSON of an `EmbeddingList`, written as it is read: two thousand vectors as numbers are 60 MB of text, of which a Worker
 * has room for two for all that it serves.
 */
export const embeddingListBody = (
  { object, model, usage }: Omit<EmbeddingList, 'data'>,
  vectors: readonly Float32Array[],
  write: (vector: Float32Array) => EmbeddingList['data'][number]['embedding'],
): ReadableStream<Uint8Array> => {
  const encoder = new TextEncoder()
  let index = 0
  let text = `{"object":${JSON.stringify(object)},"data":[`
  return new ReadableStream(
    {
      pull: (controller) => {
        for (; index < vectors.length && text.length < GATHERED_CHARACTERS; index += 1) {
          const embedding = write(vectors[index] ?? new Float32Array())
          text += `${index === 0 ? '' : ','}${JSON.stringify({ object: 'embedding', index, embedding })}`
        }
        const isLast = index === vectors.length
        if (isLast) text += `],${JSON.stringify({ model, usage }).slice(1)}`
        controller.enqueue(encoder.encode(text))
        text = ''
        if (isLast) controller.close()
      },
    },
    { highWaterMark: 0 },
  )
}
