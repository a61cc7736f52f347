import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage } from 'node:http'

/** Every request that asks an emulator of this process for a generation, whatever became of it. */
export type SeenCreate = { port: number; at: number; path: string }

const CHANNEL = 'http.server.request.start'
const CREATE = /^\/(v2\/image\/generate\/|v1\/ideogram-v3\/generate|v1\/models\/[^/]+\/[^/]+\/predictions)/

/** Listens to Node's own HTTP servers, so that nothing stands between the product and the emulators. */
export const observeCreates = (): { creates: SeenCreate[]; stop(): void } => {
  const creates: SeenCreate[] = []
  const see = (message: unknown): void => {
    const { request } = message as { request: IncomingMessage }
    const path = request.url ?? ''
    // A dry run only asks for the price.
    if (request.method !== 'POST' || !CREATE.test(path) || path.includes('dry_run=true')) return
    creates.push({ port: request.socket.localPort ?? 0, at: Date.now(), path })
  }
  subscribe(CHANNEL, see)
  return { creates, stop: () => void unsubscribe(CHANNEL, see) }
}
