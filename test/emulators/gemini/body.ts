import type { JsonSchema } from '../openai/schema-value.ts'
import { type Problem, problem } from './problems.ts'

/** What the reference's schemas cannot say, and the provider refuses all the same. */

export interface Part {
  text?: string
  thought?: boolean
  thoughtSignature?: string
  inlineData?: { mimeType: string; data: string }
  fileData?: { mimeType?: string; fileUri: string }
  functionCall?: { id?: string; name: string; args?: unknown }
  functionResponse?: { id?: string; name: string; response: unknown }
}

export interface Turn {
  role?: string
  parts?: Part[]
}

export interface GenerateBody {
  contents?: Turn[]
  systemInstruction?: Turn
  tools?: { functionDeclarations?: { name: string; parameters?: JsonSchema; parametersJsonSchema?: JsonSchema }[] }[]
  toolConfig?: { functionCallingConfig?: { mode?: string; allowedFunctionNames?: string[] } }
  serviceTier?: string
  generationConfig?: {
    candidateCount?: number
    maxOutputTokens?: number
    presencePenalty?: number
    frequencyPenalty?: number
    responseLogprobs?: boolean
    responseMimeType?: string
    responseSchema?: JsonSchema
    responseJsonSchema?: JsonSchema
    responseModalities?: string[]
    imageConfig?: { aspectRatio?: string; imageSize?: string }
    thinkingConfig?: { includeThoughts?: boolean; thinkingBudget?: number; thinkingLevel?: string }
  }
}

const known = /^(gemini-|gemma-)/
export const isThird = (model: string): boolean => Number(/^gemini-(\d+)/.exec(model)?.[1] ?? 0) >= 3
export const isImageModel = (model: string): boolean => /-image/.test(model)

export function modelProblem(model: string, apiVersion: string, method: string): Problem | null {
  if (known.test(model) && /embedding/.test(model) === /^(embedContent|batchEmbedContents)$/.test(method)) return null
  return problem(
    404,
    `models/${model} is not found for API version ${apiVersion}, or is not supported for ${method}. Call ListModels to see the list of available models and their supported methods.`,
  )
}

/** `isIssued` tells a signature that the emulator has given. */
export function generateProblem(
  model: string,
  body: GenerateBody,
  isIssued: (signature: string) => boolean,
): Problem | null {
  const message = turnsProblem(body) ?? signatureProblem(model, body, isIssued) ?? configProblem(model, body)
  return message === null ? null : problem(400, message)
}

function turnsProblem({ contents = [] }: GenerateBody): string | null {
  if (contents.length === 0) return '* GenerateContentRequest.contents: contents is not specified\n'
  for (const [at, { role, parts = [] }] of contents.entries()) {
    const where = `* GenerateContentRequest.contents[${at}]`
    if (role !== undefined && role !== 'user' && role !== 'model') return 'Please use a valid role: user, model.'
    if (parts.length === 0) return `${where}.parts: contents.parts must not be empty.\n`
    const empty = parts.findIndex((part) => !hasData(part))
    if (empty >= 0)
      return `${where}.parts[${empty}].data: required oneof field 'data' must have one initialized field\n`
    if (parts.some((part) => part.functionCall) && contents[at - 1]?.role !== 'user')
      return 'Please ensure that function call turn comes immediately after a user turn or after a function response turn.'
    const answered = parts.filter((part) => part.functionResponse).length
    if (answered === 0) continue
    const called = contents[at - 1]?.parts?.filter((part) => part.functionCall) ?? []
    if (called.length === 0)
      return 'Please ensure that function response turn comes immediately after a function call turn.'
    if (called.length !== answered)
      return 'Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.'
  }
  return null
}

const hasData = (part: Part): boolean =>
  (part.text !== undefined && (part.text !== '' || part.thoughtSignature !== undefined)) ||
  [part.inlineData, part.fileData, part.functionCall, part.functionResponse].some((data) => data !== undefined)

export const skipSignature = 'skip_thought_signature_validator'

/** Since the last words of the user every first call of a turn must bear its signature. */
function signatureProblem(model: string, body: GenerateBody, isIssued: (signature: string) => boolean): string | null {
  const contents = body.contents ?? []
  for (const { parts = [] } of contents)
    for (const { thoughtSignature: signature } of parts)
      if (signature !== undefined && signature !== skipSignature && !isIssued(signature))
        return 'Thought signature is not valid.'
  if (!isThird(model)) return null
  const begins = contents.findLastIndex(({ role, parts = [] }) => role !== 'model' && parts.some((part) => part.text))
  for (const { role, parts = [] } of contents.slice(begins + 1)) {
    const first = parts.find((part) => part.functionCall)
    if (role === 'model' && first && first.thoughtSignature === undefined)
      return `Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly. Function call \`default_api:${first.functionCall?.name}\`.`
  }
  return null
}

function configProblem(model: string, { generationConfig: config = {}, tools = [] }: GenerateBody): string | null {
  const { thinkingConfig: thinking = {} } = config
  if (config.presencePenalty || config.frequencyPenalty) return 'Penalty is not enabled for this model'
  if (config.responseLogprobs) return 'Logprobs is not enabled for this model'
  if ((config.candidateCount ?? 1) > 8) return 'The candidateCount must be between 1 and 8.'
  if (thinking.thinkingLevel !== undefined && thinking.thinkingBudget !== undefined)
    return 'You can only set only one of thinking budget and thinking level.'
  if (thinking.thinkingLevel !== undefined && !isThird(model)) return 'Thinking level is not supported for this model.'
  if (thinking.thinkingBudget === 0 && /-pro/.test(model))
    return 'Budget 0 is invalid. This model only works in thinking mode.'
  const isJson = config.responseMimeType === 'application/json'
  if ((config.responseSchema ?? config.responseJsonSchema) !== undefined && !isJson)
    return '* GenerateContentRequest.generation_config.response_mime_type: must be application/json with a response schema\n'
  if (isJson && tools.length > 0 && !isThird(model))
    return "Function calling with a response mime type: 'application/json' is unsupported"
  const wantsImage = config.responseModalities?.includes('IMAGE') ?? false
  if (wantsImage !== isImageModel(model) && (wantsImage || config.responseModalities !== undefined))
    return 'Model does not support the requested response modalities.'
  if (config.imageConfig && !isImageModel(model)) return 'Image config is not enabled for this model'
  return null
}
