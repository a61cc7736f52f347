import { type CallOptions, type CallSettings, callSettings } from '../base/calls/settings.ts'
import type { ControlOf } from '../base/settings.ts'

/** Whose manners the emulator has. All speak the same dialect, each with its own gaps. */
export const servers = ['openai', 'ollama', 'vllm', 'llama.cpp', 'workers-ai'] as const
export type Server = (typeof servers)[number]

/** Without `apiKeys` every key is let in; servers of one's own then let in who has none. */
export interface OpenAiOptions extends CallOptions {
  server?: Server
  /** false gives flat pictures, which cost next to nothing. */
  draw?: boolean
}

export interface OpenAiSettings extends CallSettings {
  server: Server
  draw: boolean
  /** The token that the gateway's own door asks for; empty lets everybody through. */
  gatewayToken: string
}

export type OpenAiControl = ControlOf<OpenAiSettings>

export const initialSettings = (options: OpenAiOptions): OpenAiSettings => ({
  ...callSettings(options),
  server: options.server ?? 'openai',
  draw: options.draw ?? true,
  gatewayToken: '',
})

export const problemWithSettings = ({ server }: Partial<OpenAiSettings>): string | undefined =>
  server === undefined || servers.includes(server) ? undefined : `unknown server ${server}`
