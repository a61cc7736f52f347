import type * as v from 'valibot'
import { ChatRequest } from '../contract/chat.ts'
import { Completion } from '../contract/completion.ts'
import { EmbeddingList, EmbedRequest } from '../contract/embedding.ts'
import { makeId } from '../contract/ids.ts'
import { ImageGeneration, ImageList } from '../contract/image-request.ts'
import { createVault, type Vault } from '../instance/vault.ts'
import type { CallTools } from '../job/text-call.ts'
import { LIMITS } from '../limits.ts'
import type { Giving } from '../providers/given-addresses.ts'
import { randomBytes } from '../storage/digest.ts'
import { callerOf } from './auth.ts'
import { check, readJson } from './body.ts'
import { callCost } from './call-cost.ts'
import { answerChat } from './chat.ts'
import { streamChat } from './chat-stream.ts'
import type { Context, Route } from './context.ts'
import { answerEmbeddings } from './embeddings.ts'
import { type Foreground, Leases } from './foreground.ts'
import { guardGiven } from './given-addresses.ts'
import { answerImages } from './images.ts'
import { instanceForeground } from './instance-foreground.ts'
import { LineCall, type World } from './line-call.ts'
import { withOwnHeaders } from './own-fields.ts'

/**
 * The OpenAI-compatible surface: chats and embeddings, whose answers are waited for on the line, and images, which are jobs.
 * One RPC opens a call and one closes it; what is sent and answered passes through this Worker alone.
 */

export const chat = async (context: Context, foregroundOf = foreground): Promise<Response> => {
  const decide = await foregroundOf(context)
  const request = await bodyOf(context, ChatRequest)
  const { line, tools, abort } = worldOf(context, decide)
  const id = makeId('chatcmpl', context.startedAtMs, randomBytes(16)).replace('_', '-')
  const { requestId, waitUntil } = context
  const answer = request.stream
    ? streamChat(request, line, tools, id, { requestId, now, waitUntil, abort })
    : answerChat(request, line, tools, id)
  return outliving(context, line, answer)
}

export const embeddings = async (context: Context, foregroundOf = foreground): Promise<Response> => {
  const decide = await foregroundOf(context)
  const request = await bodyOf(context, EmbedRequest)
  const { line, tools } = worldOf(context, decide)
  return outliving(context, line, answerEmbeddings(request, line, tools))
}

const images = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  return answerImages(context, caller, await bodyOf(context, ImageGeneration))
}

const foreground = async (context: Context): Promise<Foreground> =>
  instanceForeground(context, await callerOf(context), callCost)

const bodyOf = async <S extends v.GenericSchema<unknown, Giving>>(
  context: Context,
  schema: S,
): Promise<v.InferOutput<S>> => {
  const { request } = context
  const body = check(schema, withOwnHeaders(request.headers, await readJson(request, LIMITS.chatBodyBytes)))
  guardGiven(context, body)
  return body
}

/** The client may leave: what it set going is ended and told all the same. */
const outliving = (context: Context, line: LineCall, answer: Promise<Response>): Promise<Response> => {
  context.waitUntil(answer.then(undefined, () => line.fail()))
  return answer
}

const now = () => Date.now()
const leases = new Leases()

const worldOf = (
  context: Context,
  decide: Foreground,
): { line: LineCall; tools: CallTools; abort: AbortController } => {
  const { request, env, startedAtMs, waitUntil } = context
  const abort = new AbortController()
  if (request.signal.aborted) abort.abort()
  else request.signal.addEventListener('abort', () => abort.abort(), { once: true })
  const { signal } = abort
  const instance = context.params['instance'] ?? ''
  const world: World = { instance, startedAtMs, now, signal, stop: () => abort.abort(), waitUntil }
  const allowPrivate = env.ALLOW_PRIVATE_UPSTREAMS === 'true'
  return {
    line: new LineCall(decide, leases, world),
    tools: { vault: vaultOf(env.MASTER_KEY), allowPrivate, ai: env.AI, signal, now },
    abort,
  }
}

/** One for the isolate: it remembers the secrets it has opened. */
let vault: { masterKeys: string; vault: Vault } | null = null

const vaultOf = (masterKeys: string): Vault => {
  if (vault?.masterKeys !== masterKeys) vault = { masterKeys, vault: createVault(masterKeys) }
  return vault.vault
}

const base = '/v1/instances/:instance'

export const gatewayRoutes: Route[] = [
  {
    method: 'POST',
    path: `${base}/chat/completions`,
    summary: 'Complete a chat, as OpenAI’s API does',
    access: 'key',
    body: ChatRequest,
    answers: { 200: Completion },
    handle: (context) => chat(context),
  },
  {
    method: 'POST',
    path: `${base}/embeddings`,
    summary: 'Embed texts, as OpenAI’s API does',
    access: 'key',
    body: EmbedRequest,
    answers: { 200: EmbeddingList },
    handle: (context) => embeddings(context),
  },
  {
    method: 'POST',
    path: `${base}/images/generations`,
    summary: 'Generate images and wait for them, as OpenAI’s API does',
    access: 'key',
    body: ImageGeneration,
    answers: { 200: ImageList },
    handle: images,
  },
]
