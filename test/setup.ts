import { applyD1Migrations, reset } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { afterEach, beforeEach, vi } from 'vitest'

beforeEach(() => applyD1Migrations(env.DIRECTORY, env.TEST_MIGRATIONS))

// `reset` empties every simulator and cancels pending alarms, so that no test sees another's traces.
afterEach(async () => {
  vi.restoreAllMocks()
  await reset()
})
