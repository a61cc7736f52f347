import type { ImageInput } from '../contract/image.ts'
import type { Price } from '../contract/price.ts'
import type { Assignment } from '../contract/rpc.ts'
import { costMicros, estimateMicros } from '../core/cost.ts'
import { namesOf, priceAt } from '../core/price.ts'
import { listedPrices } from '../prices/list.ts'
import type { Call } from '../providers/provider.ts'
import { findModel } from '../providers/registry.ts'

type Judged = Pick<Assignment, 'model' | 'input' | 'price'>

/** What an attempt's call is to know of its price: that by which its job was judged. */
export const pricingOf = (assignment: Judged, nowMs: number): Required<Pick<Call, 'costOf' | 'expectedMicros'>> => {
  const { price, estimated } = assignment.price === undefined ? listed(assignment, nowMs) : kept(assignment.price)
  return {
    costOf: (usage) => (price === null ? null : costMicros(price, usage)),
    expectedMicros: estimated,
  }
}

type Known = { price: Price | null; estimated: number | null }

const kept = (price: NonNullable<Judged['price']> | null): Known => ({
  price,
  estimated: price?.estimated_micros ?? null,
})

/** Of a version that sent no price: the list's, as that version would have counted. */
const listed = ({ model, input }: Judged, nowMs: number): Known => {
  const found = findModel(model)
  const expected = found?.provider.expects(found.card.model, JSON.parse(input) as ImageInput)
  if (!found || !expected) return { price: null, estimated: null }
  const { id } = found.provider
  const price = priceAt(listedPrices(id), namesOf(id, expected.price), nowMs)
  if (!price?.verified) return { price: null, estimated: null }
  return { price, estimated: estimateMicros(price, expected.usage) }
}
