/**
 * Starts Portkey's gateway on Node. Its package (1.15.2) with the newest server it allows (@hono/node-server 1.19) answers
 * every stream with 500: it writes to headers that Node's fetch does not let be written. Here a stream's headers are a copy.
 */
const ask = globalThis.fetch

globalThis.fetch = async (...request) => {
  const answer = await ask(...request)
  if (answer.headers.get('content-type')?.startsWith('text/event-stream'))
    Object.defineProperty(answer, 'headers', { value: new Headers(answer.headers) })
  return answer
}

await import(process.argv[2] ?? '')

export {}
