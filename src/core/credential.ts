/** One of several by weight; `random` is 0…1. Null where there is none with a weight above zero. */
export const pickByWeight = <T extends { weight: number }>(items: readonly T[], random: number): T | null => {
  const total = items.reduce((sum, item) => sum + item.weight, 0)
  let rest = random * total
  for (const item of items) {
    rest -= item.weight
    if (item.weight > 0 && rest < 0) return item
  }
  return items.findLast((item) => item.weight > 0) ?? null
}
