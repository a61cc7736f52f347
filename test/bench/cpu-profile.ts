import WebSocket from 'ws'

/** CPU profiles of workerd, taken through its inspector: one per isolate. */

type Node = {
  id: number
  callFrame: { functionName: string; url: string; lineNumber: number }
  children?: number[]
}
export type Profile = { nodes: Node[]; samples: number[]; timeDeltas: number[] }

export type Recording = { stop: () => Promise<{ isolate: string; profile: Profile }[]> }

const SAMPLE_US = 250

/** Starts recording every isolate that the inspector lists. */
export const record = async (inspectorPort: number): Promise<Recording> => {
  const listed = (await (await fetch(`http://127.0.0.1:${inspectorPort}/json`)).json()) as {
    title?: string
    id: string
    webSocketDebuggerUrl: string
  }[]
  const sessions = await Promise.all(listed.map(async (one) => ({ one, ...(await open(one.webSocketDebuggerUrl)) })))
  for (const { send } of sessions) {
    await send('Profiler.enable')
    await send('Profiler.setSamplingInterval', { interval: SAMPLE_US })
    await send('Profiler.start')
  }
  return {
    stop: () =>
      Promise.all(
        sessions.map(async ({ one, send, close }) => {
          const { profile } = (await send('Profiler.stop')) as { profile: Profile }
          close()
          return { isolate: one.title ?? one.id, profile }
        }),
      ),
  }
}

const open = async (url: string) => {
  const socket = new WebSocket(url, { maxPayload: 512 * 1024 * 1024 })
  const waiting = new Map<number, (result: unknown) => void>()
  socket.on('message', (data) => {
    const { id, result } = JSON.parse(String(data)) as { id?: number; result?: unknown }
    if (id !== undefined) waiting.get(id)?.(result)
  })
  await new Promise<void>((resolve, reject) => socket.once('open', () => resolve()).once('error', reject))
  let last = 0
  return {
    send: (method: string, params: object = {}): Promise<unknown> =>
      new Promise((resolve) => {
        last += 1
        waiting.set(last, resolve)
        socket.send(JSON.stringify({ id: last, method, params }))
      }),
    close: () => socket.close(),
  }
}

export type Cost = { name: string; milliseconds: number }
export type Summary = { totalMs: number; byFunction: Cost[]; byModule: Cost[]; withCallees: Cost[] }

/** Self time by function and by module, and by function with all that it calls. Idle time is left out. */
export const summarise = (profile: Profile, moduleAt: (node: Node) => string): Summary => {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]))
  const parents = new Map(profile.nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id])))
  const byFunction = new Map<string, number>()
  const byModule = new Map<string, number>()
  const withCallees = new Map<string, number>()
  let totalMs = 0
  profile.samples.forEach((id, i) => {
    const node = nodes.get(id)
    const ms = (profile.timeDeltas[i] ?? 0) / 1000
    if (!node || ms < 0 || node.callFrame.functionName === '(idle)' || node.callFrame.functionName === '(root)') return
    totalMs += ms
    const label = (one: Node) => `${one.callFrame.functionName || '(anonymous)'} ${moduleAt(one)}`
    add(byFunction, label(node), ms)
    add(byModule, moduleAt(node), ms)
    const seen = new Set<string>()
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const one = nodes.get(at)
      if (one) seen.add(label(one))
    }
    for (const name of seen) add(withCallees, name, ms)
  })
  return { totalMs, byFunction: ranked(byFunction), byModule: ranked(byModule), withCallees: ranked(withCallees) }
}

const add = (sums: Map<string, number>, name: string, ms: number): void => {
  sums.set(name, (sums.get(name) ?? 0) + ms)
}

const ranked = (sums: Map<string, number>): Cost[] =>
  [...sums].map(([name, milliseconds]) => ({ name, milliseconds })).sort((a, b) => b.milliseconds - a.milliseconds)

/** A bundle names the file of each part in a comment (`// src/instance/scheduler.ts`): where a line comes from. */
export const moduleFinder = (bundle: string): ((node: Node) => string) => {
  const starts = bundle.split('\n').map((line) => /^\/\/ ((?:src|node_modules)\/\S+)$/.exec(line)?.[1] ?? null)
  let current = '(bundle)'
  const modules = starts.map((start) => {
    current = start ?? current
    return current
  })
  return ({ callFrame }) => {
    if (callFrame.functionName.startsWith('(')) return '(runtime)'
    if (!/product\.js|worker\.js/.test(callFrame.url)) return callFrame.url || '(built in)'
    const module = modules[callFrame.lineNumber] ?? callFrame.url
    return module.replace(/^node_modules\/((?:@[^/]+\/)?[^/]+).*$/, '$1')
  }
}
