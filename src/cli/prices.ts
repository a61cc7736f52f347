import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { calcPrice, findProvider } from '@pydantic/genai-prices'
import type { Listed } from '../core/price.ts'
import type { Row } from '../prices/list.ts'
import { ROOT, runCommand, usageError } from './command.ts'
import { type Library, makeListing } from './price-table.ts'

const HELP = `Usage: npm run prices [-- --check]

Writes src/prices/table.ts anew from src/prices/prices.json and the library of prices.
With --check it writes nothing, and exits with 1 if that would change the table.
`

const FILE = 'src/prices/prices.json'
const TABLE = 'src/prices/table.ts'
const PACKAGE = '@pydantic/genai-prices'
/** Our name of a provider and the library's. */
const COVERED: Record<string, string> = {
  openai: 'openai',
  anthropic: 'anthropic',
  google: 'google',
  'workers-ai': 'cloudflare',
}

export const openLibrary = (): Library => {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'node_modules', PACKAGE, 'package.json'), 'utf8')) as {
    version: string
  }
  return {
    version: manifest.version,
    models: Object.fromEntries(
      Object.entries(COVERED).map(([ours, theirs]) => [ours, findProvider({ providerId: theirs })?.models ?? []]),
    ),
    find: (provider, name) =>
      calcPrice({ input_tokens: 0, output_tokens: 0 }, name, { providerId: COVERED[provider] ?? provider })?.model.id ??
      null,
  }
}

/** The module's text, made anew from the file and the library. */
export const makeTable = (): string => {
  const { asOf, listed } = makeListing(readFileSync(join(ROOT, FILE), 'utf8'), openLibrary())
  const sources = [...new Set(listed.map(({ price }) => price.source))]
  const providers = [...new Set(listed.map(({ price }) => price.provider))]
  const texts = providers.map((provider) => {
    const rows = listed.filter(({ price }) => price.provider === provider).map((item) => line(item, sources))
    return `  ${/^\w+$/.test(provider) ? provider : `'${provider}'`}: \`[\n${rows.join(',\n')}\n]\`,\n`
  })
  return `/** Made by src/cli/prices.ts from ${FILE.replace(/.*\//, '')} and ${PACKAGE}. Not edited by hand. */

/** The day to which the prices are known to hold. */
export const PRICES_AS_OF = '${asOf}'

export const PRICE_SOURCES: Record<string, string> = {
${sources.map((source, at) => `  ${keyOf(at)}: ${quoted(source)},\n`).join('')}}

/** By provider, JSON of rows: one price a line. */
export const PRICE_TABLE: Record<string, string> = {
${texts.join('')}}
`
}

const keyOf = (at: number): string => `s${at + 1}`
const quoted = (text: string): string => `'${text.replaceAll("'", "\\'")}'`

const line = ({ price, aliases }: Listed, sources: string[]): string => {
  const { provider: _provider, source, ...rest } = price
  const row: Row = {
    ...rest,
    source: keyOf(sources.indexOf(source)),
    ...(aliases && aliases.length > 0 ? { aliases: [...aliases] } : {}),
  }
  const usual: Record<string, string> = {
    tiers: '[]',
    images: '[]',
    verified: 'true',
    effective_from: 'null',
    effective_to: 'null',
  }
  const text = JSON.stringify(
    Object.fromEntries(Object.entries(row).filter(([name, value]) => usual[name] !== JSON.stringify(value))),
  )
  if (/[`\\]|\$\{/.test(text)) throw new Error(`a price cannot be written as a template: ${text}`)
  return text
}

const run = async (): Promise<number> => {
  const [flag, ...rest] = process.argv.slice(2)
  if (flag === '--help') {
    process.stdout.write(HELP)
    return 0
  }
  if (rest.length > 0 || (flag !== undefined && flag !== '--check')) throw usageError('the only flag is --check')
  const path = join(ROOT, TABLE)
  const made = makeTable()
  const same = made === readFileSync(path, 'utf8')
  if (flag === '--check') {
    process.stdout.write(same ? `${TABLE} is what its sources say\n` : `${TABLE} is not what its sources say\n`)
    return same ? 0 : 1
  }
  if (!same) writeFileSync(path, made)
  process.stdout.write(`${TABLE}: ${same ? 'nothing changed' : 'written'}\n`)
  return 0
}

if (import.meta.main) await runCommand(run)
