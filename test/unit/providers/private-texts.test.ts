import { expect, test } from 'vitest'
import type { ChatInput } from '../../../src/contract/chat.ts'
import { privateTextsOf } from '../../../src/providers/private-texts.ts'
import { quotedText } from '../../../src/providers/quoted-text.ts'

const PICTURE = `data:image/png;base64,${'iVBORw0KGgoAAAANSUhEUg'.repeat(400)}`
const INPUT: ChatInput = {
  messages: [
    { role: 'system', content: 'answer in the manner of a lighthouse keeper' },
    { role: 'user', content: [{ type: 'image_url', image_url: { url: PICTURE } }] },
    {
      role: 'assistant',
      content: null,
      tool_calls: [
        {
          id: 'call_1',
          type: 'function',
          function: { name: 'find', arguments: '{"patient":"Ada Lovelace, room 12"}' },
        },
      ],
    },
    { role: 'tool', tool_call_id: 'call_1', content: 'she is said to be asleep' },
  ],
  tools: [
    {
      type: 'function',
      function: { name: 'find', description: 'finds where a patient lies', parameters: { type: 'object' } },
    },
  ],
}

test.each([
  ['its key', 'the key sk-secret-of-the-tests is wrong'],
  ['a message', 'bad content: "manner of a lighthouse keeper"'],
  ['the arguments of a tool that was called', 'messages[2]: {"patient":"Ada Lovelace, room 12"} does not match'],
  ['the result of a tool', 'cannot read "said to be asleep"'],
  ['a picture', `invalid image: ${PICTURE.slice(0, 120)}`],
  ['what a tool is for', 'finds where a patient lies: too long'],
])('an error of a chat does not repeat %s', (_what, said) => {
  expect(quotedText(said, privateTextsOf(INPUT, 'sk-secret-of-the-tests'))).toBe(null)
})

test.each<[string, Partial<ChatInput>, string]>([
  [
    'a prediction',
    { prediction: { type: 'content', content: 'const patient = adaLovelace()' } },
    'patient = adaLovelace() is too long',
  ],
  [
    'parts of a prediction',
    { prediction: { type: 'content', content: [{ type: 'text', text: 'const patient = adaLovelace()' }] } },
    'patient = adaLovelace()',
  ],
  ['whom it is for', { user: 'ada@lovelace.example' }, "bad user 'ada@lovelace.example'"],
  [
    'whom it is for, under the newer name',
    { safety_identifier: 'ada@lovelace.example' },
    "bad id 'ada@lovelace.example'",
  ],
  [
    'what the assistant declined',
    { messages: [{ role: 'assistant', refusal: 'not about patient Lovelace' }] },
    'got "about patient Lovelace"',
  ],
])('an error of a chat does not repeat %s', (_what, more, said) => {
  expect(quotedText(said, privateTextsOf({ ...INPUT, ...more }, ''))).toBe(null)
})

test.each([
  ['with characters that do not show', 'bad content: "می‌خو‌اه‌م ب‌ر‌وم"', 'می‌خو‌اه‌م ب‌ر‌وم'],
  [
    'without the characters that do not show',
    'bad content: "a secret of the lighthouse"',
    'a\u00ad sec\u200bret o\u200bf th\u200be light\u200bhouse',
  ],
  [
    'in escapes',
    String.raw`bad content: "\u79d8\u5bc6\u306e\u8a71\u3092\u3059\u308b\u3068\u304d\u306f\u5c0f\u3055\u306a\u58f0\u3067"`,
    '秘密の話をするときは小さな声で',
  ],
  ['in escapes of escapes', String.raw`bad body: {\\"a\\":\\"Gr\\u00fc\\u00df\\n Gott\\u00e4\\"}`, 'Grüß\n Gottä'],
  ['in escaped quotes', String.raw`bad content: "he \"she\" \"we\" \"you\" all"`, 'he "she" "we" "you" all'],
])('an error does not repeat a text %s', (_how, said, secret) => {
  expect(quotedText(said, [secret])).toBe(null)
})

test('an error of a chat tells what is wrong with a schema', () => {
  const said = "Invalid schema for function 'find': type must be object"
  expect(quotedText(said, privateTextsOf(INPUT, 'sk-secret-of-the-tests'))).toBe(said)
})
