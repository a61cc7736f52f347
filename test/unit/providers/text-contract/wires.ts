import { reference, problemWith as wrongAtAnthropic } from '../../../emulators/anthropic/spec.ts'
import { requests as geminiRequests, problemWith as wrongAtGemini } from '../../../emulators/gemini/spec.ts'
import { requests as openAiRequests, problemWith as wrongAtOpenAi } from '../../../emulators/openai/spec.ts'

/** One request as it left: by a binding the address is empty and the body what the binding was given. */
export type Sent = { url: string; headers: Headers; body: Fields }
export type Fields = Record<string, unknown>

/** How a provider's wire is read, as far as all wires have the same in them. */
export type Wire = {
  /** What the provider's own reference says is wrong with a request; null where there is no reference. */
  problemWith: ((sent: Sent) => string | undefined) | null
  /** False where a request has neither an address nor a secret. */
  overHttp: boolean
  /** The words of the system in a request, by themselves. */
  systemOf(body: Fields): string
}

type Part = { text?: string }
type Message = { role: string; content: string | Part[] }

const textOf = (content: unknown): string =>
  typeof content === 'string' ? content : ((content ?? []) as Part[]).map(({ text }) => text ?? '').join('')

/** OpenAI's, which many speak. */
export const OPENAI_WIRE: Wire = {
  overHttp: true,
  problemWith: ({ url, body }) => {
    const path = new URL(url).pathname.endsWith('/embeddings') ? '/embeddings' : '/chat/completions'
    const wrong = wrongAtOpenAi(openAiRequests[path], body)
    return wrong && `${wrong.param}: ${wrong.message}`
  },
  systemOf: ({ messages }) =>
    (messages as Message[])
      .filter(({ role }) => role === 'system' || role === 'developer')
      .map(({ content }) => textOf(content))
      .join(' '),
}

/** By the binding there is no reference: what it is given is of the model's own form or of OpenAI's. */
export const BINDING_WIRE: Wire = { ...OPENAI_WIRE, overHttp: false, problemWith: null }

export const ANTHROPIC_WIRE: Wire = {
  overHttp: true,
  problemWith: ({ headers, body }) => {
    const version = headers.get('anthropic-version')
    if (version !== '2023-06-01' && version !== '2026-10-21') return `anthropic-version is ${version}`
    return wrongAtAnthropic(reference[version].messages, body)
  },
  systemOf: ({ system }) => textOf(system),
}

export const GEMINI_WIRE: Wire = {
  overHttp: true,
  problemWith: ({ url, body }) => {
    const [, model, method] = /\/models\/([^/:]+):(\w+)$/.exec(new URL(url).pathname) ?? []
    const validate = Object.hasOwn(geminiRequests, method ?? '')
      ? geminiRequests[method as keyof typeof geminiRequests]
      : undefined
    if (!validate) return `${url} is no method of the reference`
    // The address names the model where the body does not.
    return wrongAtGemini(validate, method === 'batchEmbedContents' ? body : { model: `models/${model}`, ...body })
  },
  systemOf: ({ systemInstruction }) => textOf((systemInstruction as { parts?: Part[] } | undefined)?.parts),
}
