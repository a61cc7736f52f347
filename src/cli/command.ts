import { join } from 'node:path'

/** The folder of the repository: commands may be started from anywhere. */
export const ROOT = join(import.meta.dirname, '../..')

/** A failure that the person at the terminal can act on: shown as one line, without a stack. */
export class CommandError extends Error {
  readonly exitCode: number

  constructor(message: string, exitCode = 1) {
    super(message)
    this.exitCode = exitCode
  }
}

/** A wrong flag or argument; 2 is what shells and most tools use for it. */
export const usageError = (message: string): CommandError => new CommandError(`${message} (see --help)`, 2)

/** Runs a command's body and turns its failure into a message on stderr and an exit code. */
export const runCommand = async (main: () => Promise<number>): Promise<void> => {
  try {
    process.exitCode = await main()
  } catch (error) {
    const known = error instanceof CommandError
    process.stderr.write(`${known ? error.message : error instanceof Error ? error.stack : String(error)}\n`)
    process.exitCode = known ? error.exitCode : 1
  }
}
