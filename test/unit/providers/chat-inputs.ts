import fc from 'fast-check'
import { REASONING_EFFORTS } from '../../../src/contract/chat.ts'

/** Chats as clients may send them, of every field and shape that the contract takes. For any dialect's tests. */

const text = fc.string({ maxLength: 40 })
const filled = fc.string({ minLength: 1, maxLength: 20 })
const name = fc.stringMatching(/^[A-Za-z0-9_-]{1,20}$/)
const nullable = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: null })

const PIXEL =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='

const textPart = fc.record(
  { type: fc.constant('text'), text, prompt_cache_breakpoint: fc.constant({ mode: 'explicit' }) },
  { requiredKeys: ['type', 'text'] },
)
const imagePart = fc.record({
  type: fc.constant('image_url'),
  image_url: fc.record(
    { url: fc.constantFrom(PIXEL, 'https://example.com/a.jpg'), detail: fc.constantFrom('auto', 'low', 'high') },
    { requiredKeys: ['url'] },
  ),
})
const parts = <T>(part: fc.Arbitrary<T>) => fc.array(part, { minLength: 1, maxLength: 3 })
const textContent = fc.oneof(text, parts(textPart))

export const schema = fc.record(
  {
    type: fc.constant('object'),
    properties: fc.dictionary(name, fc.record({ type: fc.constantFrom('string', 'integer', 'boolean') }), {
      maxKeys: 3,
    }),
    additionalProperties: fc.constant(false),
  },
  { requiredKeys: ['type'] },
)

const toolCall = fc.record(
  {
    id: filled,
    type: fc.constant('function'),
    function: fc.record({ name, arguments: fc.json({ maxDepth: 2 }) }),
    extra_content: fc.constant({ google: { thought_signature: 'c2ln' } }),
  },
  { requiredKeys: ['id', 'type', 'function'] },
)

const message = fc.oneof(
  fc.record(
    { role: fc.constantFrom('system', 'developer'), content: textContent, name: nullable(name) },
    { requiredKeys: ['role', 'content'] },
  ),
  fc.record(
    {
      role: fc.constant('user'),
      content: fc.oneof(text, parts(fc.oneof(textPart, imagePart))),
      name: nullable(name),
    },
    { requiredKeys: ['role', 'content'] },
  ),
  fc.record(
    {
      role: fc.constant('assistant'),
      content: fc.oneof(text, parts(textPart)),
      refusal: fc.constant(null),
      reasoning_content: nullable(text),
      // Of answers alone, or of a client's own.
      annotations: fc.constant([]),
      parsed: fc.constant({ a: 1 }),
      extra_content: fc.constant({ anthropic: { thinking: [] } }),
    },
    { requiredKeys: ['role', 'content'] },
  ),
  fc.record({
    role: fc.constant('assistant'),
    content: fc.constant(null),
    tool_calls: fc.array(toolCall, { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ role: fc.constant('tool'), tool_call_id: filled, content: textContent, name: nullable(name) }),
)

const responseFormat = fc.oneof(
  fc.constant({ type: 'text' }),
  fc.constant({ type: 'json_object' }),
  fc.record({
    type: fc.constant('json_schema'),
    json_schema: fc.record(
      { name, description: text, schema: nullable(schema), strict: nullable(fc.boolean()) },
      { requiredKeys: ['name'] },
    ),
  }),
)

const knobs = {
  parallel_tool_calls: fc.boolean(),
  response_format: responseFormat,
  max_completion_tokens: fc.integer({ min: 1, max: 20_000 }),
  n: fc.integer({ min: 1, max: 4 }),
  stop: fc.oneof(filled, fc.array(filled, { minLength: 1, maxLength: 4 })),
  seed: fc.maxSafeInteger(),
  temperature: fc.double({ min: 0, max: 2, noNaN: true }),
  top_p: fc.double({ min: 0, max: 1, noNaN: true }),
  frequency_penalty: fc.double({ min: -2, max: 2, noNaN: true }),
  presence_penalty: fc.double({ min: -2, max: 2, noNaN: true }),
  logprobs: fc.boolean(),
  top_logprobs: fc.integer({ min: 0, max: 20 }),
  logit_bias: fc.dictionary(fc.stringMatching(/^\d{1,5}$/), fc.integer({ min: -100, max: 100 }), { maxKeys: 3 }),
  reasoning_effort: fc.constantFrom(...REASONING_EFFORTS),
  verbosity: fc.constantFrom('low', 'medium', 'high'),
  service_tier: fc.constantFrom('auto', 'default', 'flex', 'scale', 'priority', 'fast'),
  prediction: fc.record({ type: fc.constant('content'), content: textContent }),
  modalities: fc.constant(['text']),
  prompt_cache_key: text,
  prompt_cache_options: fc.record(
    { mode: fc.constantFrom('implicit', 'explicit'), ttl: fc.constant('30m') },
    { requiredKeys: [] },
  ),
  prompt_cache_retention: fc.constantFrom('in_memory', '24h'),
  safety_identifier: text,
  user: text,
  store: fc.boolean(),
}

const tools = fc.uniqueArray(name, { minLength: 1, maxLength: 3 }).chain((names) =>
  fc.record(
    {
      tools: fc.tuple(
        ...names.map((tool) =>
          fc.record({
            type: fc.constant('function'),
            function: fc.record(
              {
                name: fc.constant(tool),
                description: text,
                parameters: nullable(schema),
                strict: nullable(fc.boolean()),
              },
              { requiredKeys: ['name'] },
            ),
          }),
        ),
      ),
      tool_choice: fc.oneof(
        fc.constantFrom('none', 'auto', 'required'),
        fc.constantFrom(...names).map((tool) => ({ type: 'function', function: { name: tool } })),
      ),
    },
    { requiredKeys: ['tools'] },
  ),
)

/** As it comes off the wire: raw JSON for the contract to read. */
export const rawChatInput: fc.Arbitrary<Record<string, unknown>> = fc
  .tuple(
    fc.array(message, { minLength: 1, maxLength: 5 }),
    // Each alone as often as many together, so that one that is refused does not hide the others.
    fc.oneof(
      fc.record(
        Object.fromEntries(
          Object.entries(knobs).map(([field, arbitrary]) => [field, nullable(arbitrary as fc.Arbitrary<unknown>)]),
        ),
        { requiredKeys: [] },
      ),
      fc
        .constantFrom(...Object.keys(knobs))
        .chain((field) => fc.record({ [field]: knobs[field as keyof typeof knobs] as fc.Arbitrary<unknown> })),
    ),
    fc.option(tools, { nil: {} }),
  )
  .map(([messages, fields, called]) => JSON.parse(JSON.stringify({ messages, ...fields, ...called })))
