import { build } from './build.ts'
import { runCommand } from './command.ts'
import { SIGNALS, serve } from './runtime.ts'
import { readSettings } from './settings.ts'
import { takeState } from './state.ts'

/** `npm start`: serves the built bundle on one machine until SIGTERM or Ctrl-C. */
const start = async (): Promise<number> => {
  const stopped = stopSignal()
  const settings = readSettings(process.env)
  const bundle = await build()
  const hold = await takeState(settings.state)
  try {
    if (hold.orphansEnded > 0)
      process.stderr.write(`ended ${hold.orphansEnded} runtime(s) that a killed process left behind\n`)
    const runtime = await serve(bundle, settings, hold)
    hold.announce(runtime.url)
    process.stdout.write(`ready ${runtime.url}\n`)
    await stopped
    await runtime.stop()
  } finally {
    await hold.release()
  }
  return 0
}

/** Heard from the first moment on: a stop during the start ends it as soon as it can end cleanly. */
const stopSignal = (): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of SIGNALS) process.on(signal, () => resolve())
    if (process.env.npm_lifecycle_event || process.env.STOP_WITH_PARENT === 'true') whenParentEnds(() => resolve())
  })

/** A killed npm, or a killed test, tells its child nothing: without this the server would stay behind, unseen. */
const whenParentEnds = (then: () => void): void => {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    then()
  }, 200)
}

await runCommand(start)
// Sockets that the runtime's library keeps open must not hold a process that has nothing left to do.
process.exit()
