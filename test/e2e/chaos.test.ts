import { expect, test } from 'vitest'
import { runChaos } from '../chaos/chaos.ts'

test('80 jobs under 20 % faults of every kind and a kill -9 all end, each paid for once and inside the limits', {
  timeout: 120_000,
}, async () => {
  // The same one each time, so that a failure is of the change at hand; `npm run chaos` draws a new one.
  const seed = Number(process.env.CHAOS_SEED ?? 20_261_121)
  console.log(`seed ${seed}; again with: CHAOS_SEED=${seed}, in full with: npm run chaos -- --seed ${seed}`)
  const { broken, figures } = await runChaos({
    jobs: 80,
    kills: 1,
    seed,
    limits: {
      ideogram: { concurrency: 6, requests_per_minute: 240 },
      replicate: { concurrency: 12, requests_per_minute: 240 },
    },
    deadlineS: 45,
    withinMs: 75_000,
    say: console.log,
  })
  console.log(JSON.stringify(figures))
  expect(broken).toEqual([])
})
