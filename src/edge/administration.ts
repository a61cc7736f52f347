import * as v from 'valibot'
import { fault } from '../contract/fault.ts'
import { Name } from '../contract/fields.ts'
import {
  ApiKey,
  Credential,
  CredentialPatch,
  CredentialRequest,
  KeyRequest,
  NewApiKey,
  ProviderRequest,
  ProviderView,
} from '../contract/instance.ts'
import { callerOf, makeKey } from './auth.ts'
import { readBody } from './body.ts'
import { type Context, instanceOf, Refused, type Route } from './context.ts'
import { json, noContent, unwrap } from './respond.ts'

const listOf = <S extends v.GenericSchema>(schema: S) => v.object({ data: v.array(schema) })

/** A path segment that cannot be a name is answered like one that names nothing. */
const nameIn = (context: Context, param: 'provider' | 'name' | 'key'): string => {
  const name = v.safeParse(Name, context.params[param])
  if (!name.success)
    throw new Refused(fault('not_found', `There is no such ${param === 'name' ? 'credential' : param}.`))
  return name.output
}

const createKey = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const request = await readBody(context, KeyRequest)
  const { id, key, digest } = await makeKey()
  return json({ ...unwrap(await instanceOf(context).createKey(caller, request, id, digest)), key }, 201)
}

const listKeys = async (context: Context): Promise<Response> =>
  json({ data: unwrap(await instanceOf(context).keys(await callerOf(context))) })

const revokeKey = async (context: Context): Promise<Response> => {
  unwrap(await instanceOf(context).revokeKey(await callerOf(context), nameIn(context, 'key')))
  return noContent()
}

const configureProvider = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const request = await readBody(context, ProviderRequest)
  return json(unwrap(await instanceOf(context).configureProvider(caller, nameIn(context, 'provider'), request)))
}

const readProvider = async (context: Context): Promise<Response> =>
  json(unwrap(await instanceOf(context).provider(await callerOf(context), nameIn(context, 'provider'))))

const listProviders = async (context: Context): Promise<Response> =>
  json({ data: unwrap(await instanceOf(context).providers(await callerOf(context))) })

const createCredential = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const { name, ...change } = await readBody(context, CredentialRequest)
  const saved = await instanceOf(context).saveCredential(caller, nameIn(context, 'provider'), name, change, 'create')
  return json(unwrap(saved), 201)
}

const listCredentials = async (context: Context): Promise<Response> =>
  json({ data: unwrap(await instanceOf(context).credentials(await callerOf(context), nameIn(context, 'provider'))) })

const changeCredential = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  const change = await readBody(context, CredentialPatch)
  const saved = await instanceOf(context).saveCredential(
    caller,
    nameIn(context, 'provider'),
    nameIn(context, 'name'),
    change,
    'update',
  )
  return json(unwrap(saved))
}

const deleteCredential = async (context: Context): Promise<Response> => {
  const caller = await callerOf(context)
  unwrap(await instanceOf(context).deleteCredential(caller, nameIn(context, 'provider'), nameIn(context, 'name')))
  return noContent()
}

const base = '/v1/instances/:instance'

export const administrationRoutes: Route[] = [
  {
    method: 'POST',
    path: `${base}/keys`,
    summary: 'Create an API key; it is shown this once',
    access: 'key',
    body: KeyRequest,
    answers: { 201: NewApiKey },
    handle: createKey,
  },
  {
    method: 'GET',
    path: `${base}/keys`,
    summary: 'List API keys',
    access: 'key',
    answers: { 200: listOf(ApiKey) },
    handle: listKeys,
  },
  {
    method: 'DELETE',
    path: `${base}/keys/:key`,
    summary: 'Revoke an API key at once',
    access: 'key',
    answers: { 204: null },
    handle: revokeKey,
  },
  {
    method: 'GET',
    path: `${base}/providers`,
    summary: 'List providers',
    access: 'key',
    answers: { 200: listOf(ProviderView) },
    handle: listProviders,
  },
  {
    method: 'GET',
    path: `${base}/providers/:provider`,
    summary: 'Read a provider',
    access: 'key',
    answers: { 200: ProviderView },
    handle: readProvider,
  },
  {
    method: 'PUT',
    path: `${base}/providers/:provider`,
    summary: 'Configure a provider',
    access: 'key',
    body: ProviderRequest,
    answers: { 200: ProviderView },
    handle: configureProvider,
  },
  {
    method: 'POST',
    path: `${base}/providers/:provider/credentials`,
    summary: 'Add a credential',
    access: 'key',
    body: CredentialRequest,
    answers: { 201: Credential },
    handle: createCredential,
  },
  {
    method: 'GET',
    path: `${base}/providers/:provider/credentials`,
    summary: 'List credentials',
    access: 'key',
    answers: { 200: listOf(Credential) },
    handle: listCredentials,
  },
  {
    method: 'PATCH',
    path: `${base}/providers/:provider/credentials/:name`,
    summary: 'Change a credential',
    access: 'key',
    body: CredentialPatch,
    answers: { 200: Credential },
    handle: changeCredential,
  },
  {
    method: 'DELETE',
    path: `${base}/providers/:provider/credentials/:name`,
    summary: 'Delete a credential',
    access: 'key',
    answers: { 204: null },
    handle: deleteCredential,
  },
]
