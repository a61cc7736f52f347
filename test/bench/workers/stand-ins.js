/**
 * What plain workerd has no simulation of. The directory forgets and the bucket keeps the last few pictures in memory: a
 * put costs the reading of its body and nothing else.
 */

const statement = {
  bind: () => statement,
  run: async () => ({ results: [], meta: { changes: 1 } }),
  all: async () => ({ results: [] }),
  first: async () => null,
}

export const directory = { prepare: () => statement, batch: async () => [] }

const KEPT = 64
const objects = new Map()

export const bucket = {
  async put(key, body) {
    const bytes = new Uint8Array(await new Response(body).arrayBuffer())
    if (objects.has(key)) return null
    objects.set(key, bytes)
    if (objects.size > KEPT) objects.delete(objects.keys().next().value)
    return { key, size: bytes.length }
  },
  async get(key) {
    const bytes = objects.get(key)
    return bytes ? { key, size: bytes.length, body: new Response(bytes).body } : null
  },
  async head(key) {
    const bytes = objects.get(key)
    return bytes ? { key, size: bytes.length } : null
  },
  delete: async () => {},
  list: async () => ({ objects: [], truncated: false }),
}
