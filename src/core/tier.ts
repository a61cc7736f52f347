/**
 * Whether a call that this tier served costs what its model's list says. One that the provider bills at other rates has a
 * cost that nobody knows here. Null where the provider names none.
 */
export const isListTier = (serviceTier: string | null): boolean => serviceTier === null || LIST_TIERS.has(serviceTier)

const LIST_TIERS = new Set(['default', 'auto', 'standard', 'on_demand'])

/**
 * How many times its list's rates a provider asks at most in a tier, never less than once: discounts are not counted on.
 * OpenAI's fast mode, which was called priority, asks 1.7 to 2.5 times by model (https://openai.com/api-fast-mode/), Gemini's
 * priority 1.75 to 2 times (https://ai.google.dev/gemini-api/docs/optimization), both read in November 2026. What a tier
 * costs that stands nowhere is taken for the dearest of its provider.
 */
export const tierFactor = (provider: string, serviceTier: string | null): number => {
  if (isListTier(serviceTier)) return 1
  const factors = TIER_FACTORS[provider] ?? {}
  return factors[serviceTier ?? ''] ?? Math.max(1, ...Object.values(factors))
}

const TIER_FACTORS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  openai: { priority: 2.5, fast: 2.5, flex: 1, scale: 1, batch: 1 },
  google: { priority: 2, flex: 1, batch: 1 },
  // Paid for beforehand, by those that have it.
  anthropic: { priority: 1, batch: 1 },
}
