import type { CommonOptions } from './settings.ts'

/** An emulator as its own process. */

/** For `parseArgs`: the flags that every emulator has. */
export const commonFlags = {
  port: { type: 'string', default: '0' },
  latency: { type: 'string', default: '0' },
  'api-key': { type: 'string', multiple: true },
} as const

interface CommonValues {
  port: string
  latency: string
  'api-key'?: string[] | undefined
}

export const optionsOf = (values: CommonValues): CommonOptions => ({
  port: Number(values.port),
  latencyMs: Number(values.latency),
  ...(values['api-key'] ? { apiKeys: values['api-key'] } : {}),
})

/** Tells its address to whoever started the process, and ends when it is told to. */
export function announce({ url, close }: { url: string; close(): Promise<void> }): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void close())
  process.stdout.write(`ready ${url}\n`)
}
