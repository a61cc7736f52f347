/** What the emulated models take, by the provider's pages of each: https://platform.claude.com/docs/en/models/overview. */

export interface ModelRules {
  maxTokens: number
  /** Values of `thinking.type` that are taken, and the one that holds where none is given. */
  thinking: readonly string[]
  thinksByDefault: boolean
  efforts: readonly string[]
  forcesTools: boolean
  samples: boolean
  prefill: boolean
}

const five = ['low', 'medium', 'high', 'xhigh', 'max']

const newest: ModelRules = {
  maxTokens: 128_000,
  thinking: ['adaptive'],
  thinksByDefault: true,
  efforts: five,
  forcesTools: false,
  samples: false,
  prefill: false,
}
const five0: ModelRules = { ...newest, thinking: ['adaptive', 'disabled'], forcesTools: true }
const older: ModelRules = {
  maxTokens: 64_000,
  thinking: ['enabled', 'disabled'],
  thinksByDefault: false,
  efforts: [],
  forcesTools: true,
  samples: true,
  prefill: true,
}

export const models: Readonly<Record<string, ModelRules>> = {
  'claude-fable-5-2': newest,
  'claude-fable-5-1': newest,
  'claude-fable-5': { ...newest, forcesTools: true },
  'claude-opus-5-5': newest,
  'claude-opus-5': five0,
  'claude-opus-4-8': { ...five0, thinksByDefault: false },
  'claude-sonnet-5-5': { ...newest, thinking: ['adaptive', 'between_tools'] },
  'claude-sonnet-5': five0,
  'claude-sonnet-4-6': {
    ...older,
    thinking: ['adaptive', 'enabled', 'disabled'],
    efforts: ['low', 'medium', 'high', 'max'],
    prefill: false,
  },
  'claude-sonnet-4-5': older,
  'claude-haiku-5-5': five0,
  'claude-haiku-4-5': older,
}
