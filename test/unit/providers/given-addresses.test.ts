import { expect, it } from 'vitest'
import type { ChatInput } from '../../../src/contract/chat.ts'
import { type CallTools, runChat, startChat, type TextAttempt } from '../../../src/job/text-call.ts'
import { refusesGiven } from '../../../src/providers/given-addresses.ts'

const seeing = (url: string): ChatInput => ({
  messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }],
})
const INNER = seeing('http://127.0.0.1:9000/a.png')
const PARAM = 'messages.0.content.0.image_url.url'

it('leaves alone what is no address: pictures as data, texts, options that only speak of one', () => {
  const provider_options = { vllm: { note: 'see http://127.0.0.1/', list: [1, null, true, 'https://example.com/'] } }
  const chat = seeing('data:image/png;base64,iVBORw0KGgo=')
  const said: ChatInput['messages'] = [
    { role: 'user', content: 'http://127.0.0.1/' },
    { role: 'assistant', content: [{ type: 'text', text: 'http://127.0.0.1/' }] },
  ]
  expect(refusesGiven({ messages: [...chat.messages, ...said], provider_options }, false)).toBeNull()
})

it('opens inner networks to development, and never the metadata service of a cloud', () => {
  expect(refusesGiven(INNER, false)).toMatchObject({ param: PARAM })
  expect(refusesGiven(INNER, true)).toBeNull()
  expect(refusesGiven(seeing('http://169.254.169.254/latest/meta-data/'), true)).toMatchObject({ param: PARAM })
})

it('names the place without what a terminal could not show', () => {
  const provider_options = { vllm: { ['\u001b'.repeat(9_000)]: 'http://127.0.0.1/' } }
  const refusal = refusesGiven({ provider_options }, false)
  expect(refusal?.param).toMatch(/^provider_options\.vllm\.\?{10}/)
  expect(refusal?.param.length).toBeLessThanOrEqual(200)
})

it('sends nothing for a chat that was taken in while inner networks were open', async () => {
  const attempt: TextAttempt = {
    model: 'vllm/any',
    baseUrl: 'https://vllm.example/v1',
    timeoutMs: 30_000,
    credential: null,
    deadlineAtMs: Date.now() + 600_000,
  }
  const tools: CallTools = {
    vault: { open: async () => null },
    allowPrivate: false,
    signal: new AbortController().signal,
    now: () => Date.now(),
    fetch: () => {
      throw new Error('it was sent')
    },
  }
  for (const run of [runChat, startChat])
    expect(await run(attempt, INNER, { id: 'chatcmpl-ours' }, tools)).toMatchObject({
      sent: false,
      outcome: { kind: 'fault', code: 'provider_rejected', param: PARAM },
    })
})
