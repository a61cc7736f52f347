import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Turnstile } from '../../../src/job/turnstile.ts'

test('lets no more through than it has places, in the order they came, whatever fails', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.boolean(), { minLength: 1, maxLength: 12 }),
      async (scheduler, places, failures) => {
        const turnstile = new Turnstile(places)
        const begun: number[] = []
        let inside = 0
        let most = 0
        const all = failures.map((fails, index) =>
          turnstile.pass(async () => {
            begun.push(index)
            inside += 1
            most = Math.max(most, inside)
            await scheduler.schedule(Promise.resolve())
            inside -= 1
            if (fails) throw new Error('failed')
            return index
          }),
        )
        const settled = Promise.allSettled(all)
        await scheduler.waitFor(settled)
        expect((await settled).map(({ status }) => status === 'rejected')).toEqual(failures)
        expect(begun).toEqual(failures.map((_, index) => index))
        expect(most).toBe(Math.min(places, failures.length))
      },
    ),
  )
})
