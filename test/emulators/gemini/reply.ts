import { callsOf } from '../base/calls/directives.ts'
import { numberOf } from '../base/directives.ts'
import { conforming, type JsonSchema } from '../openai/schema-value.ts'
import { loremPieces, piecesOf, tokensOf } from '../openai/tokens.ts'
import { type GenerateBody, isThird, type Part } from './body.ts'
import type { Directives } from './directives.ts'
import type { CallRecord, Tokens } from './ledger.ts'
import type { GeminiSettings } from './settings.ts'

/** What the model says: decided before it is sent, so that a whole answer and a stream of it are the same. */

export interface Reply {
  /** Parts in their order, each with what it counts for; of each candidate. */
  parts: { part: Part; tokens: number }[]
  candidates: number
  finish: string
  /** Ends the prompt before a candidate is made. */
  block: string | null
  noCandidates: boolean
  /** Of the whole answer. */
  tokens: Tokens
  tier: string
  tellsUsage: boolean
}

/** All text of a conversation, in which directives may stand. */
export const promptOf = (body: GenerateBody): string =>
  [body.systemInstruction, ...(body.contents ?? [])].map((turn) => wordsOf(turn?.parts)).join('\n')

/** The words of the last turn alone: a conversation keeps its older directives, and only the newest count. */
export const lastTextOf = (body: GenerateBody): string => wordsOf(body.contents?.at(-1)?.parts)

const wordsOf = (parts: Part[] | undefined): string => (parts ?? []).map(({ text }) => text ?? '').join('')

/** A picture of up to 384 pixels a side. */
const imageTokens = 258

const imagesIn = (body: GenerateBody): number =>
  (body.contents ?? []).reduce(
    (sum, { parts = [] }) => sum + parts.filter((part) => part.inlineData ?? part.fileData).length,
    0,
  )

export const promptTokensOf = (body: GenerateBody): number => {
  const results = (body.contents ?? []).flatMap(({ parts = [] }) =>
    parts.map((part) => part.functionResponse ?? part.functionCall ?? ''),
  )
  return tokensOf(promptOf(body)) + tokensOf(JSON.stringify([body.tools ?? '', results])) + imageTokens * imagesIn(body)
}

export interface Saying {
  model: string
  body: GenerateBody
  directives: Directives
  settings: GeminiSettings
  /** A signature that will be known again. */
  sign(): string
  /** Parts of a picture, of a model that makes them. */
  picture: { part: Part; tokens: number }[] | null
  /** Of this answer: what ids of its calls begin with. */
  id: string
}

export function replyTo(saying: Saying): Reply {
  const { model, body, directives, settings, picture } = saying
  const config = body.generationConfig ?? {}
  const prompt = promptTokensOf(body)
  const thoughts = Math.min(numberOf(directives, 'thoughts', 0, 0), config.maxOutputTokens ?? Number.POSITIVE_INFINITY)
  const calls = picture ? [] : callsFor(saying)
  const limit = (config.maxOutputTokens ?? Number.POSITIVE_INFINITY) - thoughts
  const said = picture || calls.length > 0 ? [] : textsFor(body, directives, settings)
  const kept = said.slice(0, Math.max(0, limit))
  const parts = [
    ...thoughtParts(config.thinkingConfig?.includeThoughts === true, thoughts),
    ...(picture ?? []),
    ...calls,
    ...kept.map((text) => ({ part: { text } as Part, tokens: 1 })),
  ]
  // Newer models sign the last part of what is no call.
  const last = parts.at(-1)
  if (isThird(model) && thoughts > 0 && calls.length === 0 && last)
    parts[parts.length - 1] = { ...last, part: { ...last.part, thoughtSignature: saying.sign() } }
  const candidates = config.candidateCount ?? 1
  const block = directives.has('block') ? (directives.get('block')?.[0] ?? 'SAFETY') : null
  const nothing = block !== null || directives.has('no_candidates')
  const spoken = parts.reduce((sum, { tokens }) => sum + tokens, 0)
  return {
    parts,
    candidates,
    finish: directives.get('finish')?.[0] ?? (kept.length < said.length ? 'MAX_TOKENS' : 'STOP'),
    block,
    noCandidates: directives.has('no_candidates'),
    tokens: {
      prompt,
      cached: Math.min(numberOf(directives, 'cached', 0, 0), prompt),
      toolUse: numberOf(directives, 'tool_use', 0, 0),
      candidates: nothing ? 0 : spoken * candidates,
      thoughts: nothing ? 0 : thoughts,
      imageIn: imageTokens * imagesIn(body),
      imageOut: picture ? picture.reduce((sum, { tokens }) => sum + tokens, 0) : 0,
    },
    tier: body.serviceTier ?? 'standard',
    tellsUsage: !directives.has('no_usage'),
  }
}

const thoughtParts = (shown: boolean, tokens: number): Reply['parts'] =>
  shown && tokens > 0
    ? ['**Considering', ' the question**\n'].map((text) => ({ part: { thought: true, text }, tokens: 0 }))
    : []

function textsFor(body: GenerateBody, directives: Directives, settings: GeminiSettings): string[] {
  const say = directives.get('say')?.[0]
  if (say !== undefined) return piecesOf(say)
  const { responseMimeType, responseJsonSchema, responseSchema } = body.generationConfig ?? {}
  const results = body.contents?.at(-1)?.parts?.filter((part) => part.functionResponse) ?? []
  if (responseMimeType === 'application/json') {
    const schema = responseJsonSchema ?? responseSchema
    return piecesOf(JSON.stringify(schema ? conforming(lowered(schema) as JsonSchema) : { ok: true }))
  }
  if (results.length > 0)
    return piecesOf(
      `The tools say: ${results.map((part) => JSON.stringify(part.functionResponse?.response)).join(' ')}`,
    )
  return loremPieces(numberOf(directives, 'chunks', 0, settings.chunks))
}

/** Names of types are in capitals in the older form of schemas. */
function lowered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(lowered)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      key === 'type' && typeof inner === 'string' ? inner.toLowerCase() : lowered(inner),
    ]),
  )
}

function callsFor({ model, body, directives, sign, id }: Saying): Reply['parts'] {
  const { mode = 'AUTO', allowedFunctionNames } = body.toolConfig?.functionCallingConfig ?? {}
  const declared = (body.tools ?? []).flatMap((tool) => tool.functionDeclarations ?? [])
  if (declared.length === 0 || mode === 'NONE') return []
  const allowed = declared.filter(({ name }) => allowedFunctionNames?.includes(name) ?? true)
  const wanted = callsOf(directives).filter(({ name }) => allowed.some((tool) => tool.name === name))
  const asked =
    wanted.length === 0 && mode === 'ANY' ? allowed.slice(0, 1).map(({ name }) => ({ name, args: undefined })) : wanted
  return asked.map(({ name, args: given }, at) => {
    const tool = declared.find((candidate) => candidate.name === name)
    const schema = lowered(tool?.parametersJsonSchema ?? tool?.parameters ?? {}) as JsonSchema
    const args: unknown = given === undefined ? conforming(schema) : JSON.parse(given)
    const isNew = isThird(model)
    return {
      part: {
        // Ids and signatures came with the third generation; of parallel calls only the first is signed.
        functionCall: { ...(isNew ? { id: `${id}-${at}` } : {}), name, args },
        ...(isNew && at === 0 ? { thoughtSignature: sign() } : {}),
      },
      tokens: tokensOf(name + JSON.stringify(args)),
    }
  })
}

/** Books what has been generated, of which the whole is `reply`. */
export function book(record: CallRecord, reply: Reply, generated: number): void {
  record.tokens = { ...reply.tokens, candidates: Math.min(generated, reply.tokens.candidates) }
}

/** Usage so far; nothing of the candidates before there is one. */
export function usageOf(reply: Reply, generated: number): object {
  const { prompt, cached, toolUse, thoughts, imageIn, imageOut } = reply.tokens
  const candidates = Math.min(generated, reply.tokens.candidates)
  const modality = (kind: string, tokenCount: number) => (tokenCount > 0 ? [{ modality: kind, tokenCount }] : [])
  return {
    promptTokenCount: prompt,
    ...(candidates > 0 ? { candidatesTokenCount: candidates } : {}),
    totalTokenCount: prompt + toolUse + thoughts + candidates,
    ...(cached > 0 ? { cachedContentTokenCount: cached, cacheTokensDetails: modality('TEXT', cached) } : {}),
    promptTokensDetails: [...modality('TEXT', prompt - imageIn), ...modality('IMAGE', imageIn)],
    ...(imageOut > 0 && candidates > 0 ? { candidatesTokensDetails: modality('IMAGE', imageOut) } : {}),
    ...(toolUse > 0 ? { toolUsePromptTokenCount: toolUse, toolUsePromptTokensDetails: modality('TEXT', toolUse) } : {}),
    ...(thoughts > 0 ? { thoughtsTokenCount: thoughts } : {}),
    serviceTier: reply.tier,
  }
}
