/**
 * The binding of Workers AI (`env.AI`) in front of an emulator that has the manners of Workers AI's REST: what it is given goes
 * there, and what comes back is put in the binding's forms, which are those of workerd's src/cloudflare/internal/ai-api.ts and
 * of the types of @cloudflare/workers-types. A model of Meta's answers in its own form, the others in OpenAI's.
 */

type Fields = Record<string, unknown>

interface Options {
  signal: AbortSignal
}

/** As much of the binding as is called. */
export interface Binding {
  run(model: string, inputs: Fields, options: Options): Promise<Response>
}

/** `base` is where REST's paths begin, `token` what lets in there. */
export const bindingTo = (base: string, token: string): Binding => ({
  run(model, inputs, options) {
    const post = (path: string, body: Fields) => send(`${base}${path}`, token, body, options)
    return Array.isArray(inputs['text']) ? embed(post, model, inputs) : chat(post, model, inputs)
  },
})

type Post = (path: string, body: Fields) => Promise<Response>

const send = async (url: string, token: string, body: Fields, { signal }: Options): Promise<Response> => {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body), signal })
  return response.ok ? response : ownError(response)
}

/** Errors have their number in a field of its own. */
async function ownError(response: Response): Promise<Response> {
  const { errors } = (await response.json()) as { errors: { code: number; message: string }[] }
  const [{ code, message } = { code: 3043, message: '' }] = errors
  const { status, headers } = response
  return withHeaders(
    JSON.stringify({ internalCode: code, name: 'AiError', message, description: message }),
    status,
    headers,
  )
}

/** Of the answer as REST gives it, without what no longer fits. */
function withHeaders(body: BodyInit, status: number, from: Headers): Response {
  const headers = new Headers(from)
  for (const name of ['content-length', 'transfer-encoding', 'connection']) headers.delete(name)
  return new Response(body, { status, headers })
}

async function embed(post: Post, model: string, { text }: Fields): Promise<Response> {
  const response = await post('/embeddings', { model, input: text })
  return translated(response, ({ data }) => {
    const vectors = (data as { embedding: number[] }[]).map(({ embedding }) => embedding)
    return { shape: [vectors.length, vectors[0]?.length ?? 0], data: vectors, pooling: 'cls' }
  })
}

const badInput = (message: string) => Response.json({ internalCode: 5006, name: 'AiError', message }, { status: 400 })

async function chat(post: Post, model: string, inputs: Fields): Promise<Response> {
  const messages = inputs['messages'] as { content?: unknown }[]
  if ('model' in inputs) return badInput('5006: Error: oneOf at / not met: model is not known')
  if (messages.some(({ content }) => content === null || content === undefined))
    return badInput('5006: Error: oneOf at / not met: content is missing')
  if (!model.startsWith('@cf/meta/')) return post('/chat/completions', { model, ...inputs })
  const { type, json_schema: schema } = (inputs['response_format'] ?? {}) as Fields
  const format = schema === undefined ? {} : { response_format: { type, json_schema: { schema } } }
  const response = await post('/chat/completions', { model, ...inputs, ...format })
  if (!response.ok || inputs['stream'] !== true) return translated(response, ownAnswer)
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream')
  if (!isStream || !response.body) return response
  return withHeaders(response.body.pipeThrough(ownEvents()), 200, response.headers)
}

/** Headers go on at once; what is no answer goes through as it came. */
function translated(response: Response, translate: (body: Fields) => Fields): Response {
  if (!response.ok) return response
  const body = new ReadableStream({
    async start(controller) {
      const text = await response.text()
      controller.enqueue(new TextEncoder().encode(inOwnForm(text, translate)))
      controller.close()
    },
  })
  return withHeaders(body, response.status, response.headers)
}

function inOwnForm(text: string, translate: (body: Fields) => Fields): string {
  try {
    const body = JSON.parse(text) as Fields
    const isAnswer = body['choices'] !== undefined || body['data'] !== undefined
    return isAnswer ? JSON.stringify(translate(body)) : text
  } catch {
    return text
  }
}

interface Call {
  function: { name: string; arguments: string }
}
interface Message {
  content: string | null
  tool_calls?: Call[]
}

/** JSON and arguments come parsed, calls flat; why it ended is not told. */
function ownAnswer({ choices, usage }: Fields): Fields {
  const [choice] = choices as [{ message: Message }]
  const { content, tool_calls: calls = [] } = choice.message
  return {
    response: asJson(content),
    tool_calls: calls.map(({ function: called }) => ({ name: called.name, arguments: JSON.parse(called.arguments) })),
    ...(usage === undefined ? {} : { usage }),
  }
}

function asJson(content: string | null): unknown {
  if (!content?.startsWith('{')) return content
  try {
    return JSON.parse(content)
  } catch {
    return content
  }
}

interface Chunk {
  choices?: { delta: { content?: string; tool_calls?: Call[] } }[]
  usage?: unknown
}

/** Each event as it comes; one that is not whole is never told. */
function ownEvents(): TransformStream<Uint8Array, Uint8Array> {
  const decoder = new TextDecoder()
  const encoder = new TextEncoder()
  let rest = ''
  return new TransformStream({
    transform(bytes, controller) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n\n')
      rest = lines.pop() ?? ''
      for (const line of lines) controller.enqueue(encoder.encode(`${ownEvent(line)}\n\n`))
    },
  })
}

function ownEvent(line: string): string {
  let chunk: Chunk
  try {
    chunk = JSON.parse(line.slice('data: '.length)) as Chunk
  } catch {
    return line
  }
  const [choice] = chunk.choices ?? []
  if (!choice) return line
  const { content, tool_calls: calls } = choice.delta
  const own = {
    response: content ?? '',
    ...(calls ? { tool_calls: calls } : {}),
    ...(chunk.usage ? { usage: chunk.usage } : {}),
  }
  return `data: ${JSON.stringify(own)}`
}
