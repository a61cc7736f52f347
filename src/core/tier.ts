/**
 * Whether a call that this tier served costs what its model's list says. One that the provider bills at other rates has a
 * cost that nobody knows here. Null where the provider names none.
 */
export const isListTier = (serviceTier: string | null): boolean => serviceTier === null || LIST_TIERS.has(serviceTier)

const LIST_TIERS = new Set(['default', 'auto', 'standard', 'on_demand'])
