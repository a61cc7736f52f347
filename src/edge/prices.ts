import * as v from 'valibot'
import { fault } from '../contract/fault.ts'
import { Name, PricedModel } from '../contract/fields.ts'
import { PriceRequest, PriceView } from '../contract/price.ts'
import { fromWire } from '../contract/rpc.ts'
import { PRICES_AS_OF } from '../prices/table.ts'
import { callerOf } from './auth.ts'
import { readBody } from './body.ts'
import { type Context, instanceOf, Refused, type Route } from './context.ts'
import { json, noContent, unwrap } from './respond.ts'

/** Path segments that cannot be names are answered like ones that name nothing. A model's own name may hold slashes. */
const namesIn = ({ params }: Context): { provider: string; model: string } => {
  const provider = v.safeParse(Name, params['provider'])
  const model = v.safeParse(PricedModel, decoded(params['model'] ?? ''))
  if (!provider.success || !model.success) throw new Refused(fault('not_found', 'There is no such model.'))
  return { provider: provider.output, model: model.output }
}

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}

const list = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const { provider } = context.query
  const prices = await instanceOf(context).prices(caller, typeof provider === 'string' ? provider : null)
  return json({ as_of: PRICES_AS_OF, data: fromWire(unwrap(prices)) })
}

const read = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const { provider, model } = namesIn(context)
  return json(fromWire(unwrap(await instanceOf(context).price(caller, provider, model))))
}

const save = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const request = await readBody(context, PriceRequest)
  const { provider, model } = namesIn(context)
  return json(fromWire(unwrap(await instanceOf(context).savePrice(caller, provider, model, request))))
}

const remove = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const { provider, model } = namesIn(context)
  unwrap(await instanceOf(context).deletePrice(caller, provider, model))
  return noContent()
}

const base = '/v1/instances/:instance'

export const priceRoutes: Route[] = [
  {
    method: 'GET',
    path: `${base}/prices`,
    summary: 'List prices in force and prices of the instance',
    access: 'key',
    query: { provider: v.optional(Name) },
    // The day to which the built-in list is known to hold.
    answers: { 200: v.object({ as_of: v.string(), data: v.array(PriceView) }) },
    handle: list,
  },
  {
    method: 'GET',
    path: `${base}/prices/:provider/:model+`,
    summary: 'Read the price by which a model is judged now',
    access: 'key',
    answers: { 200: PriceView },
    handle: read,
  },
  {
    method: 'PUT',
    path: `${base}/prices/:provider/:model+`,
    summary: 'Set the price of a model for this instance',
    access: 'key',
    body: PriceRequest,
    answers: { 200: PriceView },
    handle: save,
  },
  {
    method: 'DELETE',
    path: `${base}/prices/:provider/:model+`,
    summary: 'Go back to the listed price of a model',
    access: 'key',
    answers: { 204: null },
    handle: remove,
  },
]
