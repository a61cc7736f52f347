/**
 * Directives tell the emulator what to answer and how to misbehave for one request. They stand in the prompt or in a text to
 * embed, since a client under test adds no headers of its own: `hello [[chunks:200]] [[cut:500]]`.
 */
export const directiveNames = [
  // What is answered.
  'say',
  'chunks',
  'call',
  'thoughts',
  'cached',
  'tool_use',
  'finish',
  'block',
  'no_candidates',
  'draft',
  // Before acceptance: nothing is generated or billed.
  'fail',
  'fail_once',
  'reason',
  'quota',
  'retry',
  'words',
  'context',
  'cut_before',
  // After acceptance: billed, but the answer is late, wrong or missing.
  'slow',
  'stall',
  'garbage',
  'malformed',
  'truncated',
  'cut_after',
  'cut',
  'error_200',
  'no_usage',
  // In a stream.
  'stall_stream',
  'error_event',
  'no_finish',
  'empty_stream',
  'split',
  'lf',
  'comments',
] as const

export type DirectiveName = (typeof directiveNames)[number]

/** Directive name to its arguments, which colons separate; `say`, `call` and `words` take all that follows as one. */
export type Directives = ReadonlyMap<DirectiveName, readonly string[]>

const directivePattern = /\[\[([a-z_0-9]+)(?::((?:(?!\]\]).)*))?\]\]/gs
const failStatuses = new Set([400, 401, 403, 404, 408, 409, 413, 429, 499, 500, 502, 503, 504, 520, 524])

/** Splits a text into its directives and what is left. `problem` names a directive that does not exist. */
export function readDirectives(source: string): { directives: Directives; text: string; problem: string | undefined } {
  const directives = new Map<DirectiveName, readonly string[]>()
  if (!source.includes('[[')) return { directives, text: source, problem: undefined }
  let problem: string | undefined
  const text = source.replace(directivePattern, (_whole, name: string, argument: string | undefined) => {
    const known = directiveNames.find((candidate) => candidate === name)
    if (known) directives.set(known, argumentsOf(known, argument))
    else problem ??= `unknown directive ${name}`
    return ' '
  })
  for (const name of ['fail', 'fail_once'] as const) {
    if (directives.has(name) && !failStatuses.has(numberOf(directives, name, 0, 0)))
      problem ??= `${name} needs one of ${[...failStatuses].join(', ')}`
  }
  return { directives, text: text.replace(/[ \t]+/g, ' ').trim(), problem }
}

/** Reads the form used in settings: `fail:503`, or several with a space between. */
export const readFaultSetting = (setting: string) =>
  readDirectives(
    setting
      .split(/\s+/)
      .filter(Boolean)
      .map((item) => `[[${item}]]`)
      .join(''),
  )

/** An argument as a number, or the fallback when it is absent or not a number. */
export function numberOf(directives: Directives, name: DirectiveName, position: number, fallback: number): number {
  const argument = directives.get(name)?.[position]
  const value = argument === undefined || argument === '' ? Number.NaN : Number(argument)
  return Number.isFinite(value) && value >= 0 ? value : fallback
}

/** `call:get_weather:{"city":"Rome"};get_time` calls two tools; without arguments they are made up from the schema. */
export const callsOf = (directives: Directives): { name: string; args: string | undefined }[] =>
  (directives.get('call')?.[0] ?? '')
    .split(';')
    .filter(Boolean)
    .map((item) => {
      const at = item.indexOf(':')
      return at < 0 ? { name: item, args: undefined } : { name: item.slice(0, at), args: item.slice(at + 1) }
    })

function argumentsOf(name: DirectiveName, argument: string | undefined): string[] {
  if (argument === undefined) return []
  return name === 'say' || name === 'call' || name === 'words' ? [argument] : argument.split(':')
}
