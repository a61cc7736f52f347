import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT, runCommand } from './command.ts'

type Report = { numPassedTests: number; numFailedTests: number; numFailedTestSuites: number; success: boolean }

/** `npm test`: all tests, then one closing line to read. A run in which nothing ran, or a file broke, has not passed. */
const test = async (): Promise<number> => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-test-'))
  const file = join(folder, 'report.json')
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`]
    const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs')
    const args = [
      vitest,
      'run',
      '--config',
      'test/vitest.config.ts',
      '--root',
      '.',
      ...reporters,
      ...process.argv.slice(2),
    ]
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: 'inherit' })
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
    const report = readReport(file)
    if (!report) {
      process.stdout.write('0 passed, 0 failed (the run broke off)\n')
      return code || 1
    }
    const broken = report.success ? '' : brokenFiles(report)
    process.stdout.write(`${report.numPassedTests} passed, ${report.numFailedTests} failed${broken}\n`)
    return code === 0 && report.success && report.numPassedTests > 0 ? 0 : code || 1
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const brokenFiles = (report: Report): string => {
  if (report.numFailedTests > 0) return ''
  return report.numFailedTestSuites === 0
    ? ' (no test ran, or an error escaped)'
    : ` (${report.numFailedTestSuites} test files could not run)`
}

const readReport = (file: string): Report | null => {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Report
  } catch {
    return null
  }
}

await runCommand(test)
