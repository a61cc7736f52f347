import { join } from 'node:path'
import { build, type Plugin } from 'esbuild'
import { ROOT } from '../../src/cli/command.ts'
import { type Child, freePort, startChild } from './processes.ts'

/** Portkey's gateway, as its package starts it on Node, and the same application as a Worker. */

const SERVER = join(ROOT, 'node_modules/@portkey-ai/gateway/build/start-server.js')

export const startPortkey = async (): Promise<Child & { url: URL }> => {
  const port = await freePort()
  const starter = join(import.meta.dirname, 'portkey-node.ts')
  const child = await startChild(process.execPath, [starter, SERVER, `--port=${port}`, '--headless'], {
    env: { NODE_ENV: 'production' },
    ready: /Ready for connections/,
  })
  return { ...child, url: new URL(`http://127.0.0.1:${port}`) }
}

/** A trailing pause with a spinner, which Workers do not allow before the first request, is over at once. */
const STAND_INS: Record<string, string> = {
  '@hono/node-server': `
    const { setTimeout, setInterval, clearInterval } = globalThis
    export const serve = ({ fetch }) => {
      globalThis.portkeyApplication = fetch
      console.clear = () => {}
      globalThis.setInterval = () => 0
      globalThis.clearInterval = () => {}
      globalThis.setTimeout = (done) => {
        done()
        Object.assign(globalThis, { setTimeout, setInterval, clearInterval })
      }
      process.stdout = { write: () => true }
    }`,
  '@hono/node-ws': `export const createNodeWebSocket = () => ({ injectWebSocket() {}, upgradeWebSocket: () => () => {} })`,
  ws: 'export default class {}',
  ioredis: 'export default class {}',
}

const standIns: Plugin = {
  name: 'stand-ins',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: new RegExp(`^(?:${Object.keys(STAND_INS).join('|')})$`) }, ({ path }) => ({
      path,
      namespace: 'stand-in',
    }))
    onLoad({ filter: /.*/, namespace: 'stand-in' }, ({ path }) => ({ contents: STAND_INS[path] ?? '' }))
  },
}

export const bundlePortkey = async (): Promise<string> => {
  const { outputFiles } = await build({
    entryPoints: [SERVER],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    mainFields: ['module', 'main'],
    banner: { js: `import { createRequire } from 'node:module'\nconst require = createRequire('/portkey.js')` },
    define: { 'process.env.NODE_ENV': '"production"' },
    plugins: [standIns],
    logLevel: 'silent',
  })
  return outputFiles[0]?.text ?? ''
}
