declare namespace Cloudflare {
  interface Env {
    /** Read from `migrations/` by test/vitest.config.ts, applied by test/setup.ts. */
    TEST_MIGRATIONS: import('cloudflare:test').D1Migration[]
  }
}
