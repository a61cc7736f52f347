import * as fc from 'fast-check'
import { BASE, type Hostile, short } from './hostile.ts'
import { strangeBodies } from './hostile-bodies.ts'
import { wrongFields } from './hostile-fields.ts'
import { addresses, headers } from './hostile-requests.ts'

/** The same for the same seed. None of them can be a good request: JSON without the fields that are required. */
export const generatedCases = (seed: number, each: number): Hostile[] => {
  const sample = <T>(arbitrary: fc.Arbitrary<T>, offset: number) =>
    fc.sample(arbitrary, { seed: seed + offset, numRuns: each })
  const targets = [`${BASE}/jobs`, `${BASE}/batches`, `${BASE}/keys`, `${BASE}/providers/ideogram/credentials`]
  const text = fc.string({ unit: 'binary', maxLength: 60 })
  const field = fc.constantFrom(
    'type',
    'input',
    'prompt',
    'name',
    'secret',
    'role',
    '__proto__',
    'constructor',
    'metadata',
  )
  const object = fc.dictionary(field, fc.jsonValue({ maxDepth: 4 }))
  return [
    ...sample(fc.tuple(fc.constantFrom(...targets), fc.jsonValue({ maxDepth: 5 })), 0).map(([path, json]) => ({
      method: 'POST',
      path,
      options: { json },
    })),
    ...sample(fc.tuple(fc.constantFrom(...targets), object), 1).map(([path, json]) => ({
      method: 'POST',
      path,
      options: { json: { ...json, zz: 0 } },
    })),
    ...sample(fc.uint8Array({ maxLength: 200 }), 2).map((raw) => ({
      method: 'POST',
      path: `${BASE}/jobs`,
      options: { raw },
    })),
    ...sample(text, 3).map((part) => ({
      method: 'GET',
      path: `${BASE}/jobs/${encodeURIComponent(part.toWellFormed())}`,
    })),
    ...sample(text, 4).map((part) => ({
      method: 'GET',
      path: `${BASE}/jobs?${part.replace(/#/g, '')}=${encodeURIComponent(part.toWellFormed())}`,
    })),
    ...sample(fc.webPath(), 5).map((path) => ({ method: 'GET', path: `/x${path}` })),
  ].map((item: Omit<Hostile, 'name'>) => ({
    name: `generated: ${item.method} ${short(item.path)} ${short(item.options)}`,
    ...item,
  }))
}

export const handWritten: Hostile[] = [...wrongFields, ...strangeBodies, ...addresses, ...headers]
