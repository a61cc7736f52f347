import { parseArgs } from 'node:util'
import type { Sealing } from '../contract/credential.ts'
import { type Client, createClient } from './client.ts'
import { CommandError, runCommand, usageError } from './command.ts'

const HELP = `Wakes every instance and waits until its secrets are sealed under the first key of MASTER_KEY.

  ROOT_KEY=… node src/cli/reseal.ts <url> [--within <seconds>]

  --within <seconds>  how long to wait (default: 600)
  --help              this

Exit code: 0 when no instance needs an older key any more, 1 when one does or holds what cannot be opened, 2 for a wrong flag.
`

const ASK_AGAIN_MS = 1_000

/** An instance re-seals by itself when it wakes, but one that sleeps does not: this goes to each. */
const reseal = async (): Promise<number> => {
  const options = readOptions(process.argv.slice(2))
  if (options === null) {
    process.stdout.write(HELP)
    return 0
  }
  const client = createClient(options.url, options.rootKey)
  const endMs = Date.now() + options.withinMs
  let left = await instancesOf(client)
  const damaged: string[] = []
  for (;;) {
    const views = await Promise.all(left.map(async (id) => ({ id, view: await sealingOf(client, id) })))
    for (const { id, view } of views) {
      if (!view?.complete) continue
      process.stdout.write(`${id}: ${view.resealed} of ${view.total} sealed under ${view.key_id}${troubleOf(view)}\n`)
      if (view.unopenable > 0) damaged.push(id)
    }
    const waiting = views.filter(({ view }) => view !== null && !view.complete)
    left = waiting.map(({ id }) => id)
    if (left.length === 0) break
    if (Date.now() > endMs) {
      for (const { id, view } of waiting)
        process.stderr.write(
          `${id}: ${view?.waiting} secrets and ${view?.lanes_waiting} lanes still need an older key\n`,
        )
      throw new CommandError('not all is sealed under the first key yet: keep the older ones')
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS))
  }
  if (damaged.length > 0) throw new CommandError(`set these secrets again: ${damaged.join(', ')}`)
  process.stdout.write('No instance needs an older key to open a secret.\n')
  return 0
}

const troubleOf = (view: Sealing): string => (view.unopenable > 0 ? `, ${view.unopenable} cannot be opened` : '')

const instancesOf = async (client: Client): Promise<string[]> => {
  const ids: string[] = []
  for (let after: string | null = ''; after !== null; ) {
    const page: { data: { id: string }[]; next: string | null } = await client.ask(
      'GET',
      `/v1/instances?limit=100${after === '' ? '' : `&after=${after}`}`,
    )
    ids.push(...page.data.map(({ id }) => id))
    after = page.next
  }
  return ids
}

/** Null where the instance is gone meanwhile. */
const sealingOf = async (client: Client, id: string): Promise<Sealing | null> => {
  const answer = await client.call<Sealing>('GET', `/v1/instances/${id}/sealing`)
  if (answer.status === 404) return null
  if (answer.status !== 200) throw new CommandError(`${id}: the server answered ${answer.status}`)
  return answer.body
}

const readOptions = (args: string[]): { url: string; rootKey: string; withinMs: number } | null => {
  const { values, positionals } = parse(args)
  if (values.help) return null
  const [url, ...rest] = positionals
  if (!url || !URL.canParse(url) || rest.length > 0) throw usageError('say where, such as https://switchyard.example')
  if (!/^[1-9]\d{0,5}$/.test(values.within)) throw usageError('--within must be a whole number of seconds')
  const rootKey = process.env.ROOT_KEY
  if (!rootKey) throw usageError('ROOT_KEY must be in the environment')
  return { url, rootKey, withinMs: Number(values.within) * 1000 }
}

const parse = (args: string[]) => {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        within: { type: 'string', default: '600' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
  } catch (error) {
    throw usageError((error as Error).message.split('. ')[0] ?? 'wrong arguments')
  }
}

await runCommand(reseal)
