/**
 * Directives tell an emulator what to answer and how to misbehave for one request. They stand in the prompt, since a client
 * under test adds no headers of its own: `hello [[chunks:200]] [[cut:500]]`. Which there are is each emulator's own.
 */

/** Directive name to its arguments, which colons separate. */
export type Directives<Name extends string> = ReadonlyMap<Name, readonly string[]>

/** Directives as seen by code that knows only some of the names. */
export interface Given<Name extends string> {
  has: (name: Name) => boolean
  get: (name: Name) => readonly string[] | undefined
}

/**
 * Splits a text into its directives and what is left, with a space for each. `problem` names the first directive that does
 * not exist; those in `whole` take all that follows as one argument.
 */
export function splitDirectives<Name extends string>(
  source: string,
  { pattern, names, whole = [] }: { pattern: RegExp; names: readonly Name[]; whole?: readonly Name[] },
): { directives: Directives<Name>; rest: string; problem: string | undefined } {
  const directives = new Map<Name, readonly string[]>()
  let problem: string | undefined
  const rest = source.replace(pattern, (_whole, name: string, argument: string | undefined) => {
    const known = names.find((candidate) => candidate === name)
    if (!known) problem ??= `unknown directive ${name}`
    else directives.set(known, argument === undefined ? [] : whole.includes(known) ? [argument] : argument.split(':'))
    return ' '
  })
  return { directives, rest, problem }
}

/** The form used in settings, `fail:503` or several with a space between, as it stands in a prompt. */
export const asPrompt = (setting: string): string =>
  setting
    .split(/\s+/)
    .filter(Boolean)
    .map((item) => `[[${item}]]`)
    .join('')

/** An argument as a number, or the fallback when it is absent or not a number. */
export function numberOf<Name extends string>(
  directives: Given<Name>,
  name: NoInfer<Name>,
  position: number,
  fallback: number,
): number {
  const argument = directives.get(name)?.[position]
  const value = argument === undefined || argument === '' ? Number.NaN : Number(argument)
  return Number.isFinite(value) && value >= 0 ? value : fallback
}

/** What is wrong with the first argument of these directives, which is a status that the emulator can answer with. */
export function problemWithStatus<Name extends string>(
  directives: Given<Name>,
  names: readonly NoInfer<Name>[],
  statuses: readonly number[],
): string | undefined {
  const wrong = names.find((name) => directives.has(name) && !statuses.includes(numberOf(directives, name, 0, 0)))
  return wrong === undefined ? undefined : `${wrong} needs one of ${statuses.join(', ')}`
}
