import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import type { IdeogramEmulator } from '../../emulators/ideogram.ts'

export type Body = Record<string, unknown>

export interface ImageObject {
  url: string | null
  prompt: string
  resolution: string
  is_image_safe: boolean
  seed: number
}

/** What a generate or poll call answers, as far as tests look. */
export interface Answer {
  generation_id: string
  seed: number
  status: string
  usage_cost_usd_micros: number
  failure_reason: string | null
  created: string
  data: ImageObject[]
}

export const v2 = (model: string) => `/v2/image/generate/${model}`
export const v1Path = '/v1/ideogram-v3/generate'

/** A bare client: no retries, no interpretation. */
export function clientOf(emulator: { url: string }, apiKey = 'key') {
  const post = (path: string, body: Body | FormData | string, init: RequestInit = {}) =>
    fetch(`${emulator.url}${path}`, {
      method: 'POST',
      headers: {
        'api-key': apiKey,
        ...(body instanceof FormData ? {} : { 'content-type': 'application/json' }),
      },
      body: body instanceof FormData || typeof body === 'string' ? body : JSON.stringify(body),
      ...init,
    })
  return {
    post,
    async generate(prompt: string, more: Body = {}, model = 'ideogram-3'): Promise<Answer> {
      const response = await post(v2(model), { prompt, ...more })
      if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
      return (await response.json()) as Answer
    },
    poll: (id: string) => fetch(`${emulator.url}/v2/generations/${id}`, { headers: { 'api-key': apiKey } }),
  }
}

/** The address of the first image. */
export function firstUrl(answer: Answer): string {
  const url = answer.data[0]?.url
  if (!url) throw new Error('no image URL')
  return url
}

export function onlyRecord(emulator: IdeogramEmulator) {
  const { generations } = emulator.stats()
  const [record] = generations
  if (!record || generations.length !== 1) throw new Error(`${generations.length} generations`)
  return record
}

/** Validators over the copied specifications, written apart from the ones the emulator itself uses. */
export function schemaValidator(api: 'v1' | 'v2') {
  const ajv = new Ajv2020({ strict: false, validateSchema: false })
  addFormats.default(ajv)
  const file = new URL(`../../emulators/specs/ideogram-${api}.json`, import.meta.url)
  ajv.addSchema(JSON.parse(readFileSync(file, 'utf8')) as object, api)
  return (name: string, value: unknown): string => {
    ajv.validate(`${api}#/components/schemas/${name}`, value)
    return ajv.errorsText()
  }
}

export const noErrors = 'No errors'
