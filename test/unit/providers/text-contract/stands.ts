import { gatewayBaseUrl } from '../../../../src/providers/cloudflare-gateway.ts'
import { startAiGateway } from '../../../emulators/ai-gateway.ts'
import { startAnthropic } from '../../../emulators/anthropic.ts'
import { startGemini } from '../../../emulators/gemini.ts'
import { bindingTo } from '../../../emulators/openai/binding.ts'
import type { Server } from '../../../emulators/openai/settings.ts'
import { startOpenAi } from '../../../emulators/openai.ts'
import type { TextStand } from '../text-contract-suite.ts'

/** Emulators as stands of the suite, and the ways to them. */

const ACCOUNT = '0123456789abcdef0123456789abcdef'
const KEY = 'sk-the-good-secret-of-them-all'

/** What the stands of one dialect have in common: their totals are counted in the same way. */
const counting = (stats: () => { accepted: number; clientsLeft: number }) => () => {
  const { accepted, clientsLeft } = stats()
  return { accepted, left: clientsLeft }
}

const NONE = { prompt: 0, cached: 0, output: 0, reasoning: 0 }

/** A server that speaks OpenAI's dialect, with a key that it asks for. */
export const openAiStand = async (server: Server): Promise<TextStand> => {
  const emulator = await startOpenAi({ server, apiKeys: [KEY], draw: false })
  const isWorkersAi = server === 'workers-ai'
  return {
    baseUrl: `${emulator.url}${isWorkersAi ? '/client/v4/accounts/{account_id}/ai/v1' : '/v1'}`,
    secret: isWorkersAi ? `${ACCOUNT}:${KEY}` : KEY,
    secrets: [KEY],
    stats: counting(() => emulator.stats()),
    billed: () => {
      const tokens = emulator.stats().calls.at(-1)?.tokens
      return tokens ? { ...tokens, output: tokens.completion } : NONE
    },
    close: () => emulator.close(),
  }
}

export const anthropicStand = async (): Promise<TextStand> => {
  const emulator = await startAnthropic({ apiKeys: [KEY] })
  return {
    baseUrl: emulator.url,
    secret: KEY,
    secrets: [KEY],
    stats: counting(() => emulator.stats()),
    billed: () => {
      const tokens = emulator.stats().calls.at(-1)?.tokens
      if (!tokens) return NONE
      const { input, cacheRead, cacheWrite5m, cacheWrite1h, output, thinking } = tokens
      return {
        prompt: input + cacheRead + cacheWrite5m + cacheWrite1h,
        cached: cacheRead,
        output,
        reasoning: thinking,
      }
    },
    close: () => emulator.close(),
  }
}

export const geminiStand = async (): Promise<TextStand> => {
  const emulator = await startGemini({ apiKeys: [KEY], draw: false })
  return {
    baseUrl: emulator.url,
    secret: KEY,
    secrets: [KEY],
    stats: counting(() => emulator.stats()),
    billed: () => {
      const tokens = emulator.stats().calls.at(-1)?.tokens
      if (!tokens) return NONE
      const { prompt, cached, candidates, thoughts } = tokens
      return { prompt, cached, output: candidates + thoughts, reasoning: thoughts }
    },
    close: () => emulator.close(),
  }
}

/** Workers AI by the binding: no address, no secret. */
export const bindingStand = async (): Promise<TextStand> => {
  const { baseUrl, ...stand } = await openAiStand('workers-ai')
  return {
    ...stand,
    baseUrl: 'https://api.cloudflare.com/client/v4/accounts/{account_id}/ai/v1',
    route: { type: 'binding' },
    secret: null,
    ai: bindingTo(baseUrl.replace('{account_id}', ACCOUNT), KEY),
  }
}

const TOKEN = 'the-token-of-the-gateway'

/** The same stand behind AI Gateway, which asks for a token of its own. `root` is where its paths begin there. */
export const behindGateway = async (
  provider: string,
  slug: string,
  start: () => Promise<TextStand>,
  rootOf = (baseUrl: string) => baseUrl,
): Promise<TextStand> => {
  const stand = await start()
  const root = rootOf(stand.baseUrl.replace('{account_id}', ACCOUNT))
  const gateway = await startAiGateway({ account: ACCOUNT, gateway: 'main', token: TOKEN, providers: { [slug]: root } })
  const route = { type: 'ai_gateway' as const, account: ACCOUNT, gateway: 'main', origin: gateway.url }
  return {
    ...stand,
    baseUrl: gatewayBaseUrl(route, provider) ?? '',
    route,
    secret: `cf-aig=${TOKEN};${KEY}`,
    secrets: [KEY, TOKEN],
    close: async () => {
      await gateway.close()
      await stand.close()
    },
  }
}
