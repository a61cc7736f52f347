import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { laneWithRoom } from '../../../src/core/lanes.ts'
import { LIMITS } from '../../../src/limits.ts'

const full = LIMITS.actorsPerLane

describe('which lane takes the next attempt', () => {
  test.each([
    ['the first lane is opened where there is none', [], 0],
    ['a lane is filled before the next is opened', [full - 1], 0],
    ['a new lane is opened when the running ones are full', [full, full], 2],
    ['a lane that became free is used again before one behind it', [full, 0, 3], 1],
    ['of several with room the first takes it, so that the others can come to rest', [1, 0, 0], 0],
  ] as const)('%s', (_name, loads, lane) => expect(laneWithRoom(loads)).toBe(lane))

  test('none, when every lane that may exist is full', () => {
    const loads = new Array<number>(LIMITS.lanesPerInstance).fill(full)
    expect(laneWithRoom(loads)).toBeNull()
    expect(laneWithRoom(loads.slice(1))).toBe(LIMITS.lanesPerInstance - 1)
    expect(laneWithRoom([...loads.slice(1), full - 1])).toBe(LIMITS.lanesPerInstance - 1)
  })

  test('over any history of starts and ends no lane is overfilled, and no more are opened than ran at once', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 60 }), { maxLength: 300 }), (steps) => {
        const loads: number[] = []
        let running = 0
        let peak = 0
        for (const step of steps) {
          const ending = step % 2 === 0 ? loads.findIndex((load, lane) => load > 0 && lane >= step % 5) : -1
          if (ending !== -1) {
            loads[ending] = (loads[ending] ?? 0) - 1
            running -= 1
            continue
          }
          const lane = laneWithRoom(loads)
          if (lane === null) throw new Error('there is room for far more')
          loads[lane] = (loads[lane] ?? 0) + 1
          running += 1
          peak = Math.max(peak, running)
        }
        expect(Math.max(0, ...loads)).toBeLessThanOrEqual(full)
        expect(loads.length).toBeLessThanOrEqual(Math.ceil(peak / full))
      }),
    )
  })
})
