import type { Foreground } from './foreground.ts'

export const callCost: Foreground['cost'] = () => null
