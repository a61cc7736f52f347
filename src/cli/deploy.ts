import { spawnSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { WRANGLER, wranglerEnvironment } from './build.ts'
import { CommandError, ROOT, runCommand, usageError } from './command.ts'

const HELP = `Applies the migrations of the directory and deploys the Worker.

  npm run deploy -- staging|production [--dry-run]

  --dry-run  say what would be done and do nothing
`

/** A guard around wrangler: only what is committed is deployed, and its commit is written on the version. */
const deploy = async (): Promise<number> => {
  const { values, positionals } = parse(process.argv.slice(2))
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  const [environment, ...rest] = positionals
  if ((environment !== 'staging' && environment !== 'production') || rest.length > 0) {
    throw usageError('say where: staging or production')
  }
  const dirty = git(['status', '--porcelain'])
  const commit = git(['rev-parse', '--short', 'HEAD'])
  const steps = [
    ['d1', 'migrations', 'apply', 'DIRECTORY', '--remote', '--env', environment],
    ['deploy', '--env', environment, '--tag', commit, '--message', git(['log', '-1', '--format=%s'])],
  ]
  process.stdout.write(
    `Deploying ${commit} to ${environment}:\n${steps.map((args) => `  wrangler ${args.join(' ')}\n`).join('')}`,
  )
  if (dirty !== '') {
    const problem = `the working tree has changes that are not committed:\n${dirty}`
    if (!values['dry-run']) throw new CommandError(problem)
    process.stdout.write(`Would refuse: ${problem}\n`)
  }
  if (values['dry-run']) return 0
  for (const args of steps) {
    const done = spawnSync(process.execPath, [WRANGLER, ...args], {
      cwd: ROOT,
      env: wranglerEnvironment(),
      stdio: 'inherit',
    })
    if (done.status !== 0) throw new CommandError(`wrangler ${args[0]} failed; nothing after it was done`)
  }
  return 0
}

const parse = (args: string[]) => {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        'dry-run': { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
  } catch (error) {
    throw usageError((error as Error).message.split('. ')[0] ?? 'wrong arguments')
  }
}

const git = (args: string[]): string => {
  const done = spawnSync('git', args, { cwd: ROOT, encoding: 'utf8' })
  if (done.status !== 0) throw new CommandError(`git ${args[0]} failed: ${done.stderr?.trim() ?? 'is git installed?'}`)
  return done.stdout.trim()
}

await runCommand(deploy)
