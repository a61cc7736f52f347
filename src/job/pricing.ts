import type { ImageInput } from '../contract/image.ts'
import type { Price, Usage } from '../contract/price.ts'
import type { Assignment } from '../contract/rpc.ts'
import { costMicros } from '../core/cost.ts'
import { namesOf, priceAt } from '../core/price.ts'
import { listedPrices } from '../prices/list.ts'
import { findModel } from '../providers/registry.ts'

type Judged = Pick<Assignment, 'model' | 'input' | 'price'>

/** What an attempt's use costs by the price that its job was judged by, in micros; null where that is not known. */
export const costBy = (assignment: Judged, nowMs: number): ((usage: Usage) => number | null) => {
  // Of a version that sent no price: the list's, as that version would have counted.
  const price = assignment.price === undefined ? listedPrice(assignment, nowMs) : assignment.price
  return (usage) => (price === null ? null : costMicros(price, usage))
}

const listedPrice = ({ model, input }: Judged, nowMs: number): Price | null => {
  const found = findModel(model)
  const expected = found?.provider.expects(found.card.model, JSON.parse(input) as ImageInput)
  if (!found || !expected) return null
  const { id } = found.provider
  const price = priceAt(listedPrices(id), namesOf(id, expected.price), nowMs)
  return price?.verified ? price : null
}
