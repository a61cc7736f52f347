import type { Json } from '../contract/fields.ts'
import type { AttemptEnd } from '../contract/rpc.ts'
import { tokensByKind } from '../contract/usage.ts'

/**
 * What `job.succeeded` tells of what was made: pictures whole, since they are addresses; of text only how much it is and
 * how it ended, since it may be long and is nobody's but the job's.
 */
export const toldOf = ({ output, usage }: Pick<AttemptEnd, 'output' | 'usage'>): { [key: string]: Json } => {
  if (output === null) return {}
  if ('images' in output) return { output }
  const tokens = usage ? { tokens: tokensByKind(usage) } : {}
  if ('choices' in output) {
    return { ...tokens, finish_reasons: output.choices.map(({ finish_reason: reason }) => reason) }
  }
  return { ...tokens, embeddings: output.data.length }
}
