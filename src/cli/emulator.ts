import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { type IdeogramOptions, startIdeogram } from '../../test/emulators/ideogram.ts'
import { CommandError } from './command.ts'

/** The Ideogram that a command works against: the real one when a key is given, else the emulator beside it. */
export type Ideogram = { emulated: boolean; baseUrl: string; apiKey: string; close: () => Promise<unknown> }

type ThreadData = { ideogram: IdeogramOptions }

const REAL = 'https://api.ideogram.ai'

/** The emulator runs in a thread: drawing must not hold up the progress bar, and it cannot outlive the command. */
export const openIdeogram = async (apiKey: string | undefined, options: IdeogramOptions): Promise<Ideogram> => {
  if (apiKey) return { emulated: false, baseUrl: REAL, apiKey, close: async () => {} }
  const data: ThreadData = { ideogram: options }
  const thread = new Worker(import.meta.filename, { workerData: data })
  try {
    const baseUrl = await new Promise<string>((resolve, reject) =>
      thread.once('message', resolve).once('error', reject),
    )
    return { emulated: true, baseUrl, apiKey: 'emulator-key', close: () => thread.terminate() }
  } catch (error) {
    throw new CommandError(`the Ideogram emulator did not start: ${(error as Error).message}`)
  }
}

if (!isMainThread && workerData && 'ideogram' in workerData) {
  const { url } = await startIdeogram((workerData as ThreadData).ideogram)
  parentPort?.postMessage(url)
}
