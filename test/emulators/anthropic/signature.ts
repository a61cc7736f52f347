import { createHash, createHmac } from 'node:crypto'
import { type Block, blocksIn, type MessageBody, type Turn } from './body.ts'

/**
 * Thoughts are bound to what was thought, to the model that thought it and to all that was said before it, as the provider
 * binds them: a conversation may only grow. A text that is not shown is inside the signature.
 */

const sign = (model: string, before: string, thinking: string): string =>
  createHmac('sha256', 'emulated').update(`${model}\n${before}\n${thinking}`).digest('base64')

export const signatureOf = (model: string, before: string, shown: string, hidden: string): string =>
  `${Buffer.from(hidden).toString('base64')}.${sign(model, before, `${shown}\n${hidden}`)}`

export const isSigned = (model: string, before: string, shown: string, signature: string): boolean => {
  const [hidden = '', signed = ''] = signature.split('.')
  return sign(model, before, `${shown}\n${Buffer.from(hidden, 'base64').toString()}`) === signed
}

/** A digest of everything before a block: the system, the turns, and what precedes it in its own. */
export const digestOf = (
  { system, tools }: Pick<MessageBody, 'system' | 'tools'>,
  turns: readonly { role: string; content: Block[] }[],
  preceding: readonly Block[],
): string => {
  const names = (tools ?? []).map(({ name }) => name)
  const text = JSON.stringify([blocksIn(system), names, turns, preceding], (key, value) =>
    key === 'cache_control' || key === 'caller' || key === 'citations' ? undefined : value,
  )
  return createHash('sha256').update(text).digest('base64')
}

/** Turns of one role that follow each other are one, as the provider reads them. */
export const joined = (messages: readonly Turn[]): { role: Turn['role']; content: Block[] }[] => {
  const turns: { role: Turn['role']; content: Block[] }[] = []
  for (const { role, content } of messages) {
    const last = turns.at(-1)
    if (last?.role === role) last.content.push(...blocksIn(content))
    else turns.push({ role, content: [...blocksIn(content)] })
  }
  return turns
}
