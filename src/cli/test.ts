import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT, runCommand } from './command.ts'

type Report = { numPassedTests: number; numFailedTests: number; numFailedTestSuites: number; success: boolean }
type Run = { code: number; report: Report | null }

/**
 * First what needs a quiet machine, beside what mostly waits. Then two runs side by side: `e2e` takes one file at a time, and
 * leaves much of a core idle.
 */
const PHASES = [
  [['--project=alone'], ['--project=waits']],
  [['--project=e2e'], ['--project=unit', '--project=worker']],
]

/**
 * `npm test`: all tests, then one closing line to read; with arguments, what vitest makes of them. A run in which nothing
 * ran, or a file broke, has not passed.
 */
const test = async (): Promise<number> => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-test-'))
  const given = process.argv.slice(2)
  try {
    const runs: Run[] = []
    for (const [phase, halves] of (given.length > 0 ? [[given]] : PHASES).entries()) {
      const report = (at: number) => join(folder, `${phase}-${at}.json`)
      runs.push(...(await Promise.all(halves.map((args, at) => vitest(args, report(at), at > 0)))))
    }
    process.stdout.write(`${closingLine(runs.map(({ report }) => report))}\n`)
    const hasPassed = runs.every(({ code, report }) => code === 0 && report?.success && report.numPassedTests > 0)
    return hasPassed ? 0 : (runs.find(({ code }) => code !== 0)?.code ?? 1)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** `waits`: what it prints is shown when it is over, so that two runs can be read. */
const vitest = async (args: string[], file: string, waits: boolean): Promise<Run> => {
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`]
  const program = join(ROOT, 'node_modules/vitest/vitest.mjs')
  const command = [program, 'run', '--config', 'test/vitest.config.ts', '--root', '.', ...reporters, ...args]
  const child = spawn(process.execPath, command, { cwd: ROOT, stdio: waits ? ['ignore', 'pipe', 'pipe'] : 'inherit' })
  const printed: Buffer[] = []
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => printed.push(chunk))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  process.stdout.write(Buffer.concat(printed))
  return { code: code ?? 1, report: readReport(file) }
}

const closingLine = (reports: (Report | null)[]): string => {
  const sum = (field: 'numPassedTests' | 'numFailedTests' | 'numFailedTestSuites'): number =>
    reports.reduce((total, report) => total + (report?.[field] ?? 0), 0)
  const line = `${sum('numPassedTests')} passed, ${sum('numFailedTests')} failed`
  if (reports.includes(null)) return `${line} (the run broke off)`
  if (sum('numFailedTests') > 0 || reports.every((report) => report?.success)) return line
  const files = sum('numFailedTestSuites')
  return `${line}${files === 0 ? ' (no test ran, or an error escaped)' : ` (${files} test files could not run)`}`
}

const readReport = (file: string): Report | null => {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Report
  } catch {
    return null
  }
}

await runCommand(test)
