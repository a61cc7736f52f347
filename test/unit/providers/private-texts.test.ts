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

test('an error of a chat tells what is wrong with a schema', () => {
  const said = "Invalid schema for function 'find': type must be object"
  expect(quotedText(said, privateTextsOf(INPUT, 'sk-secret-of-the-tests'))).toBe(said)
})
