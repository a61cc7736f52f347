/** The limit of the platform for a gateway: the request goes on with the provider's key, the answer comes back. */
export default {
  fetch(request, env) {
    const headers = { authorization: `Bearer ${env.SECRET}`, 'content-type': 'application/json' }
    return fetch(`${env.UPSTREAM}/chat/completions`, { method: 'POST', headers, body: request.body })
  },
}
