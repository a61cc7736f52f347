/**
 * Portkey's gateway as a Worker. Its package holds a server for Node alone, which starts as it is loaded: portkey.ts puts
 * stand-ins in the place of that server, and this file passes requests to the application that they were given.
 */
import './portkey-bundle.js'

const answer = globalThis.portkeyApplication

export default { fetch: (request, env, context) => answer(request, env, context) }
