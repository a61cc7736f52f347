import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { ChatInput, ChatRequest, outputLimitOf, stopsOf, textOf } from '../../../src/contract/chat.ts'
import { LIMITS } from '../../../src/limits.ts'
import { rawChatInput } from '../providers/chat-inputs.ts'
import { expectAccepted, expectRefused, firstIssue, type RefusedRow, type Row, text } from './issues.ts'

const user = (content: unknown) => ({ role: 'user', content })
const chat = (more: object = {}) => ({ model: 'openai/gpt-5-mini', messages: [user('hello')], ...more })
const with_ = (...messages: unknown[]) => chat({ messages })
const image = (url: string, more: object = {}) => with_(user([{ type: 'image_url', image_url: { url, ...more } }]))
const tool = (more: object = {}) => ({ type: 'function', function: { name: 'f', ...more } })
const call = (more: object = {}) => ({ id: 'c', type: 'function', function: { name: 'f', arguments: '' }, ...more })
const PNG = 'data:image/png;base64,'

const taken: Row[] = [
  ['the least', chat()],
  ['a model alone', chat({ model: 'gpt-5-mini' })],
  ['a model with slashes', chat({ model: 'workers-ai/@cf/openai/gpt-oss-20b' })],
  ['an image by address', image('https://example.com/a.png', { detail: 'low' })],
  ['an image in the request', image(`${PNG}iVBORw0KGgo=`)],
  ['the largest image', image(PNG + text(LIMITS.imageDataUriCharacters - PNG.length))],
  [
    'a call of a tool and its result',
    with_(
      user('x'),
      { role: 'assistant', content: null, tool_calls: [call()] },
      { role: 'tool', tool_call_id: 'c', content: 'y', name: 'f' },
    ),
  ],
  ['a refusal sent back', with_(user('x'), { role: 'assistant', content: null, refusal: 'no' }, user('y'))],
  [
    'an answer sent back as it came',
    with_({ role: 'assistant', content: 'x', annotations: [], audio: null, parsed: {}, provider_thing: 1 }),
  ],
  [
    'state of a provider',
    with_({ role: 'assistant', content: 'x', extra_content: { google: { thought_signature: 'a' } } }),
  ],
  ['a cache breakpoint', with_(user([{ type: 'text', text: 'x', prompt_cache_breakpoint: { mode: 'explicit' } }]))],
  ['nulls for absent fields', chat({ stop: null, temperature: null, tools: null, stream_options: null, user: null })],
  ['options of its stream', chat({ stream: true, stream_options: { include_usage: false } })],
  ['one limit under two names', chat({ max_tokens: 5, max_completion_tokens: 5 })],
  ['one limit, the other null', chat({ max_tokens: null, max_completion_tokens: 5 })],
  ['a choice of tools where there are none', chat({ tool_choice: 'auto' })],
  ['a named tool', chat({ tools: [tool()], tool_choice: tool() })],
  ['text alone', chat({ modalities: ['text'] })],
  [
    'Switchyard’s own',
    chat({
      models: ['anthropic/claude-sonnet-5', 'openai/gpt-5'],
      prefer: 'cost',
      fallback: true,
      project: 'site',
      max_cost_usd: 0.5,
      deadline_s: 60,
      metadata: { a: 'b' },
      provider_options: { vllm: { top_k: 5 } },
      stream: true,
      stream_options: { include_usage: true },
    }),
  ],
]

const refused: RefusedRow[] = [
  ['no messages', { model: 'm' }, 'messages'],
  ['an empty list of messages', with_(), 'messages'],
  ['no model', { messages: [user('x')] }, 'model'],
  ['an empty model', chat({ model: '' }), 'model'],
  ['a misspelt field', chat({ max_token: 5 }), 'max_token'],
  ['a field of an older time', chat({ functions: [] }), 'functions'],
  ['audio as an answer', chat({ modalities: ['text', 'audio'] }), 'modalities.1'],
  ['web search', chat({ web_search_options: {} }), 'web_search_options'],
  ['a role nobody has', with_({ role: 'function', content: 'x', name: 'f' }), 'messages.0.role'],
  ['a message that is text', with_('hello'), 'messages.0'],
  ['a number for text', with_(user(5)), 'messages.0.content'],
  ['no parts', with_(user([])), 'messages.0.content'],
  [
    'audio',
    with_(
      user([
        { type: 'text', text: 'x' },
        { type: 'input_audio', input_audio: {} },
      ]),
    ),
    'messages.0.content.1.type',
  ],
  ['a file', with_(user([{ type: 'file', file: { file_id: 'f' } }])), 'messages.0.content.0.type'],
  [
    'an image of a system',
    with_({ role: 'system', content: [{ type: 'image_url', image_url: { url: 'https://x' } }] }),
    'messages.0.content.0.type',
  ],
  [
    'a field in a part',
    with_(user([{ type: 'text', text: 'x', cache_control: {} }])),
    'messages.0.content.0.cache_control',
  ],
  ['an image of another kind', image('data:image/svg+xml;base64,AAAA'), 'messages.0.content.0.image_url.url'],
  ['an image that is a file', image('file:///etc/passwd'), 'messages.0.content.0.image_url.url'],
  ['too large an image', image(PNG + text(LIMITS.imageDataUriCharacters)), 'messages.0.content.0.image_url.url'],
  ['too long an address', image(`https://x/${text(LIMITS.imageUrlCharacters)}`), 'messages.0.content.0.image_url.url'],
  ['too long a text', with_(user(text(LIMITS.chatTextCharacters + 1))), 'messages.0.content'],
  ['too many messages', with_(...Array.from({ length: LIMITS.messagesPerChat + 1 }, () => user('x'))), 'messages'],
  [
    'too many parts',
    with_(user(Array.from({ length: LIMITS.partsPerMessage + 1 }, () => ({ type: 'text', text: '' })))),
    'messages.0.content',
  ],
  ['a result without its call', with_({ role: 'tool', content: 'x' }), 'messages.0.tool_call_id'],
  ['an assistant that says nothing', with_({ role: 'assistant' }), 'messages.0.content'],
  [
    'a custom tool call',
    with_({ role: 'assistant', tool_calls: [call({ type: 'custom' })] }),
    'messages.0.tool_calls.0.type',
  ],
  ['a custom tool', chat({ tools: [{ type: 'custom', custom: { name: 'x' } }] }), 'tools.0.type'],
  ['a tool without name', chat({ tools: [{ type: 'function', function: {} }] }), 'tools.0.function.name'],
  ['a name with blanks', chat({ tools: [tool({ name: 'a b' })] }), 'tools.0.function.name'],
  [
    'too large a schema',
    chat({ tools: [tool({ parameters: { a: text(LIMITS.schemaBytes) } })] }),
    'tools.0.function.parameters',
  ],
  ['too many tools', chat({ tools: Array.from({ length: LIMITS.toolsPerChat + 1 }, () => tool()) }), 'tools'],
  ['a choice of a tool that is not there', chat({ tools: [tool()], tool_choice: tool({ name: 'g' }) }), 'tool_choice'],
  ['a must without tools', chat({ tool_choice: 'required' }), 'tool_choice'],
  [
    'allowed tools',
    chat({ tools: [tool()], tool_choice: { type: 'allowed_tools', allowed_tools: {} } }),
    'tool_choice',
  ],
  ['a format nobody has', chat({ response_format: { type: 'xml' } }), 'response_format.type'],
  ['two limits', chat({ max_tokens: 5, max_completion_tokens: 6 }), 'max_tokens'],
  ['options of a stream without one', chat({ stream_options: { include_usage: true } }), 'stream_options'],
  ['options of a stream that is not wanted', chat({ stream: false, stream_options: {} }), 'stream_options'],
  ['no tokens', chat({ max_tokens: 0 }), 'max_tokens'],
  ['five stops', chat({ stop: ['a', 'b', 'c', 'd', 'e'] }), 'stop'],
  ['an empty stop', chat({ stop: ['a', ''] }), 'stop.1'],
  ['an empty stop alone', chat({ stop: '' }), 'stop'],
  ['a stop of a thousand characters', chat({ stop: 'x'.repeat(1_000) }), 'stop'],
  ['a fever', chat({ temperature: 2.1 }), 'temperature'],
  ['too many choices', chat({ n: LIMITS.choicesPerChat + 1 }), 'n'],
  ['a bias of no token', chat({ logit_bias: { x: 1 } }), 'logit_bias.x'],
  ['an effort nobody has', chat({ reasoning_effort: 'huge' }), 'reasoning_effort'],
  ['a model for the fall without its provider', chat({ models: ['gpt-5'] }), 'models.0'],
  ['a negative price', chat({ max_cost_usd: -1 }), 'max_cost_usd'],
  ['a long deadline', chat({ deadline_s: LIMITS.chatDeadlineMaxSeconds + 1 }), 'deadline_s'],
  ['options that are a list', chat({ provider_options: { vllm: [] } }), 'provider_options.vllm'],
]

describe('a chat request', () => {
  it.each(taken)('with %s is taken', (_what, value) => expectAccepted(ChatRequest, value))
  it.each(refused)('with %s is refused', (_what, value, path) => expectRefused(ChatRequest, value, path))

  it('says in words why audio is not taken', () => {
    const issue = firstIssue(ChatRequest, with_(user([{ type: 'input_audio', input_audio: {} }])))
    expect(issue?.message).toBe('must be text or image_url: audio and files are not taken')
  })

  it('leaves nulls and an answer’s extras out, and the value it was given alone', () => {
    const raw = chat({ stop: null, messages: [{ role: 'assistant', content: 'x', parsed: { a: 1 } }] })
    const before = JSON.stringify(raw)
    const read = v.parse(ChatRequest, raw)
    expect(read).not.toHaveProperty('stop')
    expect(read.messages[0]).toEqual({ role: 'assistant', content: 'x' })
    expect(JSON.stringify(raw)).toBe(before)
  })

  it('of any shape that clients send is taken, as a job’s input too', () => {
    fc.assert(
      fc.property(rawChatInput, (raw) => {
        expectAccepted(ChatInput, raw)
        expectAccepted(ChatRequest, { model: 'openai/gpt-5', ...raw })
      }),
    )
  })

  it('of any JSON is taken or refused, and never throws', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        expect(typeof v.safeParse(ChatRequest, value).success).toBe('boolean')
        expect(typeof v.safeParse(ChatRequest, { model: 'm', messages: value }).success).toBe('boolean')
        expect(typeof v.safeParse(ChatRequest, { model: 'm', messages: [value] }).success).toBe('boolean')
      }),
    )
  })
})

describe('what is read from a chat', () => {
  const input = (more: object) => v.parse(ChatInput, { messages: [user('x')], ...more })
  it('is its limit by either name', () => {
    expect([{}, { max_tokens: 5 }, { max_completion_tokens: 6 }].map((more) => outputLimitOf(input(more)))).toEqual([
      null,
      5,
      6,
    ])
  })
  it('are its stops as a list', () => {
    expect([{}, { stop: 'a' }, { stop: ['a', 'b'] }].map((more) => stopsOf(input(more)))).toEqual([
      [],
      ['a'],
      ['a', 'b'],
    ])
  })
  it('is the text of a content without its pictures', () => {
    expect(textOf('a')).toBe('a')
    expect(textOf(null)).toBe('')
    const picture = { type: 'image_url' as const, image_url: { url: 'https://x' } }
    expect(textOf([{ type: 'text', text: 'a' }, picture, { type: 'text', text: 'b' }])).toBe('ab')
    expect(textOf([{ type: 'refusal', refusal: 'no' }])).toBe('no')
  })
})
