import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { VERSION } from '../../../src/edge/version.ts'

const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `${folder}/${name}`)
    .sort()

/** The code of a file without its comments, which may speak of anything. */
const codeOf = (path: string): string =>
  readFileSync(path, 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '')

const importsOf = (path: string): string[] =>
  [...codeOf(path).matchAll(/(?:\bfrom|\bimport\s*\(?)\s*['"]([^'"]+)['"]/g)].map(([, source]) => source ?? '')

/** `../limits.ts` seen from `src/core/order.ts` is `src/limits.ts`; a package stays as it is. */
const resolved = (path: string): string[] =>
  importsOf(path).map((source) =>
    source.startsWith('.') ? new URL(source, `file:///${path}`).pathname.slice(1) : source,
  )

const pure = [...filesIn('src/core'), ...filesIn('src/contract')]

const FORBIDDEN: [what: string, pattern: RegExp][] = [
  ['the clock', /\bDate\s*\.\s*now\b|\bnew Date\(\s*\)|\bDate\(\s*\)|\bperformance\b/],
  ['randomness', /\bMath\s*\.\s*random\b|\bcrypto\b/],
  ['the network', /\bfetch\s*\(|\bWebSocket\b/],
  ['timers', /\bset(?:Timeout|Interval|Immediate)\b|\bscheduler\b|\bqueueMicrotask\b/],
  ['the process', /\bconsole\b|\bprocess\b|\bglobalThis\b/],
  ['the platform', /cloudflare:|node:/],
]

describe('pure code', () => {
  test.each(pure)('%s uses no clock, randomness, network, timer or platform', (path) => {
    const found = FORBIDDEN.filter(([, pattern]) => pattern.test(codeOf(path))).map(([what]) => what)
    expect(found).toEqual([])
  })

  test.each(pure)('%s imports only core, contract, the limits and valibot', (path) => {
    const foreign = resolved(path).filter(
      (source) =>
        !/^src\/(?:core|contract)\/[a-z-]+\.ts$/.test(source) && !['src/limits.ts', 'valibot'].includes(source),
    )
    expect(foreign).toEqual([])
  })

  test.each(filesIn('src/contract'))('%s holds no decision: it imports nothing of core', (path) => {
    expect(resolved(path).filter((source) => source.startsWith('src/core/'))).toEqual([])
  })

  test('the limits import nothing', () => {
    expect(importsOf('src/limits.ts')).toEqual([])
  })

  test('the search finds what it forbids', () => {
    const guilty = ['Date.now()', 'new Date()', 'Math.random()', 'fetch(url)', 'crypto.subtle', 'setTimeout(f)']
    for (const code of [...guilty, 'console.log(1)', "import 'cloudflare:workers'"])
      expect(FORBIDDEN.some(([, pattern]) => pattern.test(code))).toBe(true)
    for (const code of ['new Date(ms)', 'Date.parse(text)', 'prefetch(url)'])
      expect(FORBIDDEN.some(([, pattern]) => pattern.test(code))).toBe(false)
  })
})

describe('layers', () => {
  /** How many statements a file that is no store may run, and why. */
  const MAY_RUN_SQL: Record<string, number> = {
    // Creates the table it keeps its own books in.
    'src/storage/migrations.ts': 4,
    // Looks whether there is a schema before any store is opened.
    'src/instance/parts.ts': 1,
  }

  test('an actor’s SQL stands only in its stores', () => {
    const running = filesIn('src')
      .filter((path) => !path.endsWith('-store.ts'))
      .map((path) => ({ path, count: codeOf(path).match(/\bsql\s*\.?\s*\.exec\b/g)?.length ?? 0 }))
      .filter(({ path, count }) => count > (MAY_RUN_SQL[path] ?? 0))
    expect(running).toEqual([])
  })

  test('a store exists, so that the rule above says something', () => {
    expect(
      filesIn('src').filter((path) => path.endsWith('-store.ts') && /sql\s*\.exec/.test(codeOf(path))),
    ).not.toEqual([])
  })

  test.each(filesIn('src/providers'))('%s knows nothing of queues, budgets or storage', (path) => {
    const known = resolved(path).filter((source) => /^src\/(?:core|edge|instance|job|storage|cli)\//.test(source))
    expect(known).toEqual([])
  })
})

test('the version that is served is that of the package', () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
  expect(VERSION).toBe(version)
})
