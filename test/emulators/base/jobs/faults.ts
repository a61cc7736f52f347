import { type Directives, type Given, numberOf } from '../directives.ts'

/** In chaos runs with the fault that is drawn; what the prompt asks for wins over what chance drew. */
export function withDrawn<Name extends string>(
  state: { drawFault(): string | undefined },
  faults: Directives<Name>,
  readFaultSetting: (setting: string) => { faults: Directives<Name> },
): Directives<Name> {
  const drawn = state.drawFault()
  return drawn === undefined ? faults : new Map([...readFaultSetting(drawn).faults, ...faults])
}

/** The status with which the first so many fail, as `poll_fail:503:2` has it, or undefined for those that come later. */
export const failsAtFirst = <Name extends string>(
  faults: Given<Name>,
  name: NoInfer<Name>,
  turn: number,
): number | undefined =>
  faults.has(name) && turn <= numberOf(faults, name, 1, 1) ? numberOf(faults, name, 0, 500) : undefined

/** Whether this is one of the first so many polls, which `poll_cut:2` breaks off. */
export const isPollCut = (faults: Given<'poll_cut'>, polls: number): boolean =>
  faults.has('poll_cut') && polls <= numberOf(faults, 'poll_cut', 0, 1)
