import type { ChatInput } from '../contract/chat.ts'

/** How one server of OpenAI's dialect differs from another. */
export type Flavor = {
  /** The provider's id, which names its `provider_options`. */
  id: string
  /** For people. */
  name: string
  /** The base of its paths and the headers that let in; the address comes without a slash at its end. */
  reach(call: { baseUrl: string; secret: string }): { root: string; headers: Record<string, string> }
  /** The newer name of the limit, or the one that every server knows. */
  limitField: 'max_completion_tokens' | 'max_tokens'
  /** Whether it tells a developer's message from a system's. */
  developerRole: boolean
  /** Fields beyond the conversation that it takes; those that only lean on how it answers are dropped elsewhere. */
  takes: ReadonlySet<keyof ChatInput>
  /** Fields of its own that `provider_options` may hold; `any` for a server that its owner configures. */
  nativeFields: ReadonlySet<string> | 'any'
  /** Whether a stream must end with `[DONE]`; a server may also just close after its finish reason. */
  strictTerminator: boolean
  /** Most characters of a call's id; any number where nothing is said. */
  callIdCharacters?: number
}

/** Left out, and named, where a model or a server does not take them: they lean on how it answers, not on what. */
const LEANING = [
  'temperature',
  'top_p',
  'frequency_penalty',
  'presence_penalty',
  'seed',
  'reasoning_effort',
  'verbosity',
  'service_tier',
  'prediction',
  'modalities',
  'parallel_tool_calls',
  'prompt_cache_key',
  'prompt_cache_options',
  'prompt_cache_retention',
  'safety_identifier',
  'user',
  'store',
] as const satisfies readonly (keyof ChatInput)[]

export const LEANING_FIELDS: ReadonlySet<keyof ChatInput> = new Set(LEANING)

/** They decide what is answered or in which form, so a model that lacks one refuses the request. */
export const DECIDING_FIELDS = [
  'tools',
  'tool_choice',
  'response_format',
  'n',
  'stop',
  'logprobs',
  'top_logprobs',
  'logit_bias',
] as const satisfies readonly (keyof ChatInput)[]
