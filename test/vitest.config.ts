import { cloudflareTest, readD1Migrations } from '@cloudflare/vitest-plugin'
import { Response } from 'miniflare'
import { defineConfig } from 'vitest/config'

/** A test that hangs ends by this. Nothing measures speed with it: a machine may be several times slower than another. */
const PATIENCE_MS = 60_000

/** Of those from outside, the ones that mostly wait for clocks: others may run beside them. */
const WAITING = ['test/e2e/replicate-jobs.test.ts']

/** Counts what reaches a provider in a minute: calls that a busy machine holds up on their way are no fault of the limits. Only those that wait run beside it. */
const ALONE = ['test/e2e/gateway-limits.test.ts']

const fromOutside = {
  environment: 'node',
  // Each file starts whole runtimes and measures their behaviour; side by side they would disturb one another.
  fileParallelism: false,
  testTimeout: PATIENCE_MS,
  hookTimeout: PATIENCE_MS,
} as const

/**
 * `unit` runs pure code in Node, `worker` runs inside workerd with the bindings of `[env.test]`, `e2e`, `waits` and `alone` drive
 * the built product from outside. Run from the repository's root:
 * `vitest run --config test/vitest.config.ts --root .`
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: { name: 'unit', include: ['test/unit/**/*.test.ts'], environment: 'node', testTimeout: PATIENCE_MS },
      },
      {
        plugins: [
          cloudflareTest(async () => ({
            remoteBindings: false,
            wrangler: { configPath: './wrangler.toml', environment: 'test' },
            miniflare: {
              bindings: {
                TEST_MIGRATIONS: await readD1Migrations('migrations'),
                // As in wrangler.toml, again: a developer's .dev.vars would win over that.
                ROOT_KEY: 'root-key-of-the-tests-0123456789abcdef',
                MASTER_KEY: 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=',
              },
              // A test that forgets to put an emulator in place fails here instead of reaching a real provider.
              outboundService: () => new Response('no network in tests', { status: 599 }),
            },
          })),
        ],
        test: {
          name: 'worker',
          include: ['test/worker/**/*.test.ts'],
          setupFiles: ['./test/setup.ts'],
          testTimeout: PATIENCE_MS,
        },
      },
      { test: { ...fromOutside, name: 'e2e', include: ['test/e2e/**/*.test.ts'], exclude: [...WAITING, ...ALONE] } },
      { test: { ...fromOutside, name: 'waits', include: WAITING } },
      { test: { ...fromOutside, name: 'alone', include: ALONE } },
    ],
  },
})
