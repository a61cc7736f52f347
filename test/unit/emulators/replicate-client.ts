import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import type { ReplicateEmulator } from '../../emulators/replicate.ts'

export const schnell = 'black-forest-labs/flux-schnell'
export const pro = 'black-forest-labs/flux-1.1-pro'

/** What a call answers, as far as tests look. */
export interface Answer {
  id: string
  status: string
  version: string
  input: Record<string, unknown>
  output: string | string[] | null
  error: string | null
  data_removed: boolean
  completed_at?: string
  deadline?: string
  metrics?: { predict_time: number; total_time: number }
  detail?: string
  title?: string
  retry_after?: number
  invalid_fields?: { field: string }[]
}

export interface Called {
  status: number
  headers: Headers
  body: Answer
}

/** A bare client: no retries, no interpretation. */
export function clientOf({ url }: { url: string }, token: string | null = 'key') {
  const call = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const response = await fetch(`${url}/v1${path}`, {
      method,
      headers: { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    return { status: response.status, headers: response.headers, body: (await response.json()) as Answer }
  }
  return {
    call,
    create: (prompt: string, headers: Record<string, string> = {}, more: object = {}, model = schnell) =>
      call('POST', `/models/${model}/predictions`, { input: { prompt }, ...more }, headers),
    get: (id: string) => call('GET', `/predictions/${id}`),
    cancel: (id: string) => call('POST', `/predictions/${id}/cancel`),
    list: async (query = '') => (await call('GET', `/predictions${query}`)).body as unknown as Page,
    /** Polls until the prediction has ended. */
    async end(id: string): Promise<Answer> {
      for (;;) {
        const { body } = await call('GET', `/predictions/${id}`)
        if (body.status !== 'starting' && body.status !== 'processing') return body
      }
    },
  }
}

export interface Page {
  next: string | null
  previous: null
  results: Answer[]
}

/** The first file of an output. */
export function firstFile({ output }: Answer): string {
  const [file] = [output].flat()
  if (typeof file !== 'string') throw new Error('no output')
  return file
}

export function onlyRecord(emulator: ReplicateEmulator) {
  const { predictions } = emulator.stats()
  const [record] = predictions
  if (!record || predictions.length !== 1) throw new Error(`${predictions.length} predictions`)
  return record
}

const ajv = new Ajv2020({ strict: false, allErrors: true, validateSchema: false })
addFormats.default(ajv)
const file = new URL('../../emulators/specs/replicate.json', import.meta.url)
ajv.addSchema(JSON.parse(readFileSync(file, 'utf8')) as object, 'replicate')

/**
 * What the copied specification says against a value, apart from the validators that the emulator itself uses. Two of its
 * own slips are passed over: what may be null is marked in the words of OpenAPI 3.0 (`nullable`), and the `version`
 * "hidden" matches both of the two forms of which it must match one.
 */
export function check(name: string, value: unknown): string {
  ajv.validate(`replicate#/components/schemas/schemas_${name}`, value)
  const excused = [
    '/error',
    '/version',
    '/github_url',
    '/paper_url',
    '/license_url',
    '/cover_image_url',
    '/default_example',
  ]
  return ajv.errorsText(ajv.errors?.filter(({ instancePath }) => !excused.includes(instancePath)))
}

export const noErrors = 'No errors'
