import { expect, vi } from 'vitest'
import type { ChatInput } from '../../../../src/contract/chat.ts'
import type { CompletionChunk, CompletionMessage, FinishReason } from '../../../../src/contract/completion.ts'
import type { EmbedInput } from '../../../../src/contract/embedding.ts'
import type { Usage } from '../../../../src/contract/usage.ts'
import { type CallTools, runChat, runEmbed, startChat, type TextAttempt } from '../../../../src/job/text-call.ts'
import type { ChatStream } from '../../../../src/job/text-stream.ts'
import type { EmbedCompleted } from '../../../../src/providers/dialect.ts'
import type { Failed } from '../../../../src/providers/provider.ts'
import type { TextStand, TextSubject } from '../text-contract-suite.ts'
import type { Sent } from './wires.ts'

/** Attempts at a provider of text as a job or a client's call makes them, whole or as a stream, in one form for both. */

export type Mode = 'whole' | 'stream'
export const MODES: Mode[] = ['whole', 'stream']

export type Asked = {
  choices: { message: CompletionMessage; finish: FinishReason | null }[]
  /** As the client gets it: the completion, or the chunks. */
  answers: unknown[]
  usage: Usage | null
  serviceTier: string | null
  model: string | null
  fault: Failed | null
  /** Whether text had come before it failed. */
  begun: boolean
  sent: boolean
  requests: Sent[]
}

export type Embedded = { outcome: EmbedCompleted | Failed; sent: boolean; requests: Sent[] }

export type Circumstances = Partial<{
  timeoutMs: number
  signal: AbortSignal
  allowPrivate: boolean
  baseUrl: string
  /** Null: it cannot be opened. */
  secret: string | null
  /** Changes a request on its way. */
  rewrite(body: Record<string, unknown>): Record<string, unknown>
  /** With the first text of a stream. */
  onText(): void
  /** Time runs ten seconds a millisecond from here on: before the first text, or behind it. */
  hurry: 'before' | 'behind'
}>

export class Attempts {
  readonly #subject: TextSubject
  readonly #stand: () => TextStand

  constructor(subject: TextSubject, stand: () => TextStand) {
    this.#subject = subject
    this.#stand = stand
  }

  async ask(mode: Mode, input: ChatInput, more: Circumstances = {}): Promise<Asked> {
    const requests: Sent[] = []
    const all = { ...this.#subject.always, ...input }
    const attempt = this.#attempt(this.#subject.model, more)
    const tools = this.#tools(requests, more)
    const options = { id: 'chatcmpl-ours' }
    if (mode === 'stream') {
      const started = await startChat(attempt, all, options, tools)
      if (started.kind === 'streaming') return this.#checked({ ...(await readStream(started, more)), requests })
      return this.#checked({ ...NOTHING, fault: started.outcome as Failed, sent: started.sent, requests })
    }
    const { outcome, sent } = await runChat(attempt, all, options, tools)
    if (outcome.kind === 'fault') return this.#checked({ ...NOTHING, fault: outcome, sent, requests })
    const { completion, usage, serviceTier } = outcome
    const choices = completion.choices.map(({ message, finish_reason: finish }) => ({ message, finish }))
    const told = { choices, answers: [completion], usage, serviceTier, model: completion.model }
    return this.#checked({ ...NOTHING, ...told, sent, requests })
  }

  async embed(input: EmbedInput, more: Circumstances = {}): Promise<Embedded> {
    const requests: Sent[] = []
    const attempt = this.#attempt(this.#subject.embeds?.model ?? '', more)
    const { outcome, sent } = await runEmbed(attempt, input, this.#tools(requests, more))
    return this.#checked({ outcome, sent, requests })
  }

  /** Every request is one that the reference knows, and has the secret in a header alone. */
  #checked<T extends { requests: Sent[] }>(made: T): T {
    const { problemWith } = this.#subject.wire
    for (const sent of made.requests) {
      expect(problemWith?.(sent)).toBeUndefined()
      for (const secret of this.#stand().secrets) expect(JSON.stringify([sent.url, sent.body])).not.toContain(secret)
    }
    return made
  }

  #attempt(model: string, more: Circumstances): TextAttempt {
    const { baseUrl, route, secret } = this.#stand()
    return {
      model: `${this.#subject.provider.id}/${model}`,
      baseUrl: more.baseUrl ?? baseUrl,
      ...(route ? { route } : {}),
      timeoutMs: more.timeoutMs ?? 20_000,
      credential: secret === null ? null : { identity: 'credential', sealed: {} as never },
      deadlineAtMs: Date.now() + 3_600_000,
    }
  }

  #tools(requests: Sent[], more: Circumstances): CallTools {
    const { secret, ai } = this.#stand()
    const rewrite = more.rewrite ?? ((body) => body)
    return {
      vault: { open: async () => (more.secret === undefined ? secret : more.secret) },
      allowPrivate: more.allowPrivate ?? true,
      signal: more.signal ?? new AbortController().signal,
      now: () => Date.now(),
      fetch: (url, init) => {
        const body = JSON.parse(String(new TextDecoder().decode(bytesOf(init.body))))
        requests.push({ url, headers: new Headers(init.headers), body })
        return fetch(url, { ...init, body: JSON.stringify(rewrite(body)) })
      },
      ...(ai
        ? {
            ai: {
              run: (model, inputs, options) => {
                requests.push({ url: '', headers: new Headers(), body: { model, ...inputs } })
                return ai.run(model, inputs, options)
              },
            },
          }
        : {}),
    }
  }
}

const bytesOf = (body: unknown): Uint8Array =>
  typeof body === 'string' ? new TextEncoder().encode(body) : (body as Uint8Array)

const NOTHING: Omit<Asked, 'requests'> = {
  choices: [],
  answers: [],
  usage: null,
  serviceTier: null,
  model: null,
  fault: null,
  begun: false,
  sent: true,
}

const readStream = async (stream: ChatStream, more: Circumstances): Promise<Omit<Asked, 'requests'>> => {
  let hurry = more.hurry === 'before' ? hurried() : null
  const failed = await stream.begin()
  const choices: Asked['choices'] = []
  const answers: CompletionChunk[] = []
  let begun = false
  if (failed === null) {
    hurry ??= more.hurry === 'behind' ? hurried() : null
    for (let pieces = await stream.next(); pieces !== null; pieces = await stream.next()) {
      for (const { json } of pieces) {
        const chunk = JSON.parse(json) as CompletionChunk
        answers.push(chunk)
        addChunk(choices, chunk)
      }
      if (!begun && pieces.some(({ text }) => text !== '')) {
        begun = true
        more.onText?.()
      }
    }
  }
  if (hurry) clearInterval(hurry)
  const { fault, usage, serviceTier, model } = stream.end()
  await stream.close()
  return { choices, answers, usage, serviceTier, model, fault: failed ?? fault, begun, sent: true }
}

const hurried = () => setInterval(() => vi.advanceTimersByTime(10_000), 1)

/** As a client puts chunks together. */
const addChunk = (choices: Asked['choices'], chunk: CompletionChunk): void => {
  for (const { index, delta, finish_reason: finish } of chunk.choices) {
    choices[index] ??= { message: { role: 'assistant', content: null, refusal: null }, finish: null }
    const choice = choices[index]
    const { message } = choice
    if (delta.content) message.content = (message.content ?? '') + delta.content
    if (delta.extra_content) message.extra_content = { ...message.extra_content, ...delta.extra_content }
    for (const { index: at, id, function: called, extra_content: extra } of delta.tool_calls ?? []) {
      message.tool_calls ??= []
      message.tool_calls[at] ??= { id: '', type: 'function', function: { name: '', arguments: '' } }
      const call = message.tool_calls[at]
      if (id) call.id = id
      call.function.name += called?.name ?? ''
      call.function.arguments += called?.arguments ?? ''
      if (extra) call.extra_content = extra
    }
    choice.finish = finish ?? choice.finish
  }
}
