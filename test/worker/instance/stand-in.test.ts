import { describe, expect, test } from 'vitest'
import { isStandIn, standInFor } from '../../../src/instance/stand-in.ts'
import { UPSTREAMS } from '../../../src/providers/upstreams.ts'

const upstream = (id: string) => {
  const found = UPSTREAMS.find((one) => one.id === id)
  if (!found) throw new Error(`there is no ${id}`)
  return found
}
const straight = { route: null, isAddressed: true, credentials: 0 }

describe('without a credential', () => {
  test.each(['ollama', 'vllm', 'llama-cpp'])('%s is called where its address was set', (id) => {
    const row = standInFor(upstream(id), straight)
    expect(row?.provider).toBe(id)
    expect(row && isStandIn(row)).toBe(true)
    expect(row?.ciphertext).toBe('')
  })

  test('nobody is sent to whatever listens at the usual address', () => {
    expect(standInFor(upstream('ollama'), { ...straight, isAddressed: false })).toBeNull()
  })

  test('a server that was given a credential is not called without it', () => {
    expect(standInFor(upstream('vllm'), { ...straight, credentials: 1 })).toBeNull()
  })

  test('every other provider is called by its binding only', () => {
    const others = UPSTREAMS.filter(({ id }) => !['ollama', 'vllm', 'llama-cpp'].includes(id))
    expect(others.map((one) => standInFor(one, straight))).toEqual(others.map(() => null))
    expect(standInFor(upstream('workers-ai'), { ...straight, route: { type: 'binding' } })).not.toBeNull()
  })
})
