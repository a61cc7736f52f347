import { asPrompt, type Directives, type Given, problemWithStatus, splitDirectives } from '../directives.ts'

/** What can be asked of every emulator whose answer to a call is what was asked for, whole or as a stream. */
const commonNames = [
  // What is answered.
  'say',
  'chunks',
  'call',
  'finish',
  // Before acceptance: nothing is generated or billed.
  'fail',
  'fail_once',
  'echo',
  'context',
  'cut_before',
  // After acceptance: billed, but the answer is late, wrong or missing.
  'slow',
  'stall',
  'garbage',
  'malformed',
  'empty',
  'html',
  'truncated',
  'stall_half',
  'cut_after',
  'cut',
  'error_200',
  'no_usage',
  // In a stream.
  'stall_stream',
  'error_event',
  'empty_stream',
  'split',
  'comments',
] as const

type CommonName = (typeof commonNames)[number]

/** The directives of a call, to an emulator that knows these besides the common ones. */
export type CallDirectives<Own extends string> = Directives<CommonName | Own>

const pattern = /\[\[([a-z_0-9]+)(?::((?:(?!\]\]).)*))?\]\]/gs

/**
 * How directives are read in prompts and in settings. `names` are the emulator's own, of which those in `whole` take all that
 * follows as one argument, as `say` and `call` do; `statuses` are what `fail` and `fail_once` may name.
 */
export function readersOf<Own extends string>(own: {
  names: readonly Own[]
  whole: readonly NoInfer<Own>[]
  statuses: readonly number[]
}) {
  const names: readonly (CommonName | Own)[] = [...commonNames, ...own.names]
  const whole: readonly (CommonName | Own)[] = ['say', 'call', ...own.whole]
  /** Splits a text into its directives and what is left. `problem` names a directive that does not exist. */
  const readDirectives = (
    source: string,
  ): { directives: CallDirectives<Own>; text: string; problem: string | undefined } => {
    if (!source.includes('[[')) return { directives: new Map(), text: source, problem: undefined }
    const { directives, rest, problem } = splitDirectives(source, { pattern, names, whole })
    return {
      directives,
      text: rest.replace(/[ \t]+/g, ' ').trim(),
      problem: problem ?? problemWithStatus(directives, ['fail', 'fail_once'], own.statuses),
    }
  }
  return { readDirectives, readFaultSetting: (setting: string) => readDirectives(asPrompt(setting)) }
}

/** `call:get_weather:{"city":"Rome"};get_time` calls two tools; without arguments they are made up from the schema. */
export const callsOf = (directives: Given<'call'>): { name: string; args: string | undefined }[] =>
  (directives.get('call')?.[0] ?? '')
    .split(';')
    .filter(Boolean)
    .map((item) => {
      const at = item.indexOf(':')
      return at < 0 ? { name: item, args: undefined } : { name: item.slice(0, at), args: item.slice(at + 1) }
    })
