import type * as v from 'valibot'
import { describe, test } from 'vitest'
import {
  CredentialPatch,
  CredentialRequest,
  InstancePatch,
  InstanceRequest,
  KeyRequest,
  ProviderRequest,
} from '../../../src/contract/instance.ts'
import { LIMITS } from '../../../src/limits.ts'
import { expectAccepted, expectRefused, type RefusedRow, type Row, text } from './issues.ts'

type Tables = { schema: v.GenericSchema; accepted: Row[]; refused: RefusedRow[] }

const key = (more: object): object => ({ name: 'ci', role: 'user', ...more })
const limits = (more: object): object => ({ limits: more })
const gateway = (more: object): object => ({ type: 'ai_gateway', account: 'a', gateway: 'g', ...more })
const credential = (more: object): object => ({ name: 'main', secret: 's3cret-key', ...more })
const models = (count: number): object => ({
  default_models: { 'image.generate': Array.from({ length: count }, (_, i) => `p/m${i}`) },
})
const url = (length: number): string => `https://provider.example/${text(length - 25)}`

const REQUESTS: Record<string, Tables> = {
  'an instance request': {
    schema: InstanceRequest,
    accepted: [
      ['only an id', { id: 'prod' }],
      ['the shortest id', { id: 'p' }],
      ['the longest id', { id: `p${text(62)}` }],
      ['an organization', { id: 'prod', organization: 'acme' }],
      ['no organization', { id: 'prod', organization: null }],
      ['an empty configuration', { id: 'prod', config: {} }],
      ['the shortest queue', { id: 'prod', config: { queue_bound: 1 } }],
      ['the longest queue', { id: 'prod', config: { queue_bound: LIMITS.queueDefault } }],
      ['the most default models', { id: 'prod', config: models(LIMITS.modelsPerJob) }],
    ],
    refused: [
      ['no id', {}, 'id'],
      ['an id that is too long', { id: `p${text(63)}` }, 'id'],
      ['an id in capitals', { id: 'Prod' }, 'id'],
      ['an id that begins with a digit', { id: '1st' }, 'id'],
      ['an id with a slash', { id: 'a/b' }, 'id'],
      ['an id with a line break at its end', { id: 'prod\n' }, 'id'],
      ['an empty organization', { id: 'prod', organization: '' }, 'organization'],
      ['an organization whose name is too long', { id: 'prod', organization: text(65) }, 'organization'],
      ['a queue of none', { id: 'prod', config: { queue_bound: 0 } }, 'config.queue_bound'],
      [
        'a queue beyond the bound',
        { id: 'prod', config: { queue_bound: LIMITS.queueDefault + 1 } },
        'config.queue_bound',
      ],
      ['default models, but none', { id: 'prod', config: models(0) }, 'config.default_models.image.generate'],
      [
        'too many default models',
        { id: 'prod', config: models(LIMITS.modelsPerJob + 1) },
        'config.default_models.image.generate',
      ],
      [
        'default models of an unknown node type',
        { id: 'prod', config: { default_models: { 'video.generate': ['a/b'] } } },
        'config.default_models.video.generate',
      ],
      ['an unknown field', { id: 'prod', region: 'eu' }, 'region'],
      ['an unknown field of the configuration', { id: 'prod', config: { queue: 1 } }, 'config.queue'],
    ],
  },
  'a change of an instance': {
    schema: InstancePatch,
    accepted: [['a configuration', { config: { queue_bound: 5 } }]],
    refused: [
      ['nothing to change', {}, 'config'],
      ['another id', { id: 'other', config: {} }, 'id'],
    ],
  },
  'a key request': {
    schema: KeyRequest,
    accepted: [
      ['a user', key({})],
      ['an admin', key({ role: 'admin' })],
      ['the longest name', key({ name: text(LIMITS.nameCharacters) })],
      ['a user of one project', key({ project: 'web' })],
      ['every scope of an admin', key({ role: 'admin', scopes: ['jobs', 'read', 'admin'] })],
      ['an admin narrowed to a project and its jobs', key({ role: 'admin', project: 'web', scopes: ['jobs'] })],
      ['an end', key({ expires_at: '2027-01-01T00:00:00Z' })],
      ['no project and no end', key({ project: null, expires_at: null })],
    ],
    refused: [
      ['no name', { role: 'user' }, 'name'],
      ['a name that is too long', key({ name: text(LIMITS.nameCharacters + 1) }), 'name'],
      ['a name with a blank', key({ name: 'my key' }), 'name'],
      ['no role', { name: 'ci' }, 'role'],
      ['a role that no key may have', key({ role: 'root' }), 'role'],
      ['no scopes in a list of scopes', key({ scopes: [] }), 'scopes'],
      ['an unknown scope', key({ scopes: ['read', 'write'] }), 'scopes.1'],
      ['more scopes than there are', key({ scopes: ['jobs', 'read', 'jobs', 'read'] }), 'scopes'],
      ['a user with the scope admin', key({ scopes: ['admin'] }), 'scopes'],
      ['an admin of one project, whose scopes are not named', key({ role: 'admin', project: 'web' }), 'project'],
      [
        'an admin of one project with the scope admin',
        key({ role: 'admin', project: 'web', scopes: ['jobs', 'admin'] }),
        'project',
      ],
      ['an end in words', key({ expires_at: 'never' }), 'expires_at'],
      ['an end on a day that does not exist', key({ expires_at: '2027-02-30T00:00:00Z' }), 'expires_at'],
      ['a key of its own making', key({ key: 'sy_a_b' }), 'key'],
    ],
  },
  'a provider request': {
    schema: ProviderRequest,
    accepted: [
      ['nothing', {}],
      ['switched off', { enabled: false }],
      ['a base URL', { base_url: 'https://provider.example/v1' }],
      ['the provider’s own base URL', { base_url: null }],
      ['the longest base URL', { base_url: url(LIMITS.urlFieldCharacters) }],
      ['the shortest timeout', { timeout_ms: 1_000 }],
      ['the longest timeout', { timeout_ms: LIMITS.providerTimeoutMaxMs }],
      [
        'the smallest limits',
        limits({ requests_per_minute: 1, tokens_per_minute: 1, concurrency: 1, requests_per_day: 1 }),
      ],
      [
        'the largest limits',
        limits({
          requests_per_minute: LIMITS.requestsPerMinuteMax,
          tokens_per_minute: LIMITS.tokensPerMinuteMax,
          concurrency: LIMITS.concurrencyMax,
          requests_per_day: LIMITS.requestsPerDayMax,
        }),
      ],
      ['no route', { route: null }],
      ['a route through AI Gateway', { route: gateway({}) }],
      ['one with all that it may have', { route: gateway({ cache: true, origin: 'http://127.0.0.1:9106' }) }],
      ['the longest names in its address', { route: gateway({ account: text(64), gateway: text(64) }) }],
      ['a route by the binding', { route: { type: 'binding' } }],
      ['no limits', limits({ requests_per_minute: null, tokens_per_minute: null, requests_per_day: null })],
    ],
    refused: [
      ['a switch that is a number', { enabled: 1 }, 'enabled'],
      ['a base URL that is none', { base_url: 'provider' }, 'base_url'],
      ['a base URL that is too long', { base_url: url(LIMITS.urlFieldCharacters + 1) }, 'base_url'],
      ['a timeout that is too short', { timeout_ms: 999 }, 'timeout_ms'],
      ['a timeout that is too long', { timeout_ms: LIMITS.providerTimeoutMaxMs + 1 }, 'timeout_ms'],
      ['a rate of none', limits({ requests_per_minute: 0 }), 'limits.requests_per_minute'],
      [
        'a rate beyond the bound',
        limits({ requests_per_minute: LIMITS.requestsPerMinuteMax + 1 }),
        'limits.requests_per_minute',
      ],
      ['no tokens', limits({ tokens_per_minute: 0 }), 'limits.tokens_per_minute'],
      [
        'tokens beyond the bound',
        limits({ tokens_per_minute: LIMITS.tokensPerMinuteMax + 1 }),
        'limits.tokens_per_minute',
      ],
      ['no concurrency', limits({ concurrency: 0 }), 'limits.concurrency'],
      ['concurrency without end', limits({ concurrency: null }), 'limits.concurrency'],
      ['concurrency beyond the bound', limits({ concurrency: LIMITS.concurrencyMax + 1 }), 'limits.concurrency'],
      ['no requests a day', limits({ requests_per_day: 0 }), 'limits.requests_per_day'],
      ['a day beyond the bound', limits({ requests_per_day: LIMITS.requestsPerDayMax + 1 }), 'limits.requests_per_day'],
      ['a route of no kind', { route: {} }, 'route.type'],
      ['a route of an unknown kind', { route: { type: 'proxy' } }, 'route.type'],
      ['a route that is a list', { route: [] }, 'route'],
      ['a gateway without its account', { route: { type: 'ai_gateway', gateway: 'g' } }, 'route.account'],
      ['a gateway whose account is a path', { route: gateway({ account: 'a/b' }) }, 'route.account'],
      ['a gateway whose name is too long', { route: gateway({ gateway: text(65) }) }, 'route.gateway'],
      ['a gateway below a path', { route: gateway({ origin: 'https://gateway.example/' }) }, 'route.origin'],
      ['a gateway that is no address', { route: gateway({ origin: 'gateway' }) }, 'route.origin'],
      ['a cache that is a number', { route: gateway({ cache: 1 }) }, 'route.cache'],
      ['a gateway with a token', { route: gateway({ token: 'x' }) }, 'route.token'],
      ['a binding with an account', { route: { type: 'binding', account: 'a' } }, 'route.account'],
      ['an unknown limit', limits({ requests_per_second: 1 }), 'limits.requests_per_second'],
      ['an unknown field', { secret: 'x' }, 'secret'],
    ],
  },
  'a credential request': {
    schema: CredentialRequest,
    accepted: [
      ['a name and a secret', credential({})],
      ['the shortest secret', credential({ secret: 'x' })],
      ['the longest secret', credential({ secret: text(LIMITS.secretCharacters) })],
      ['every printable character', credential({ secret: '!~"\\{}' })],
      ['no weight', credential({ weight: 0 })],
      ['the greatest weight', credential({ weight: 1_000 })],
    ],
    refused: [
      ['no name', { secret: 'x' }, 'name'],
      ['a name that climbs', credential({ name: '../main' }), 'name'],
      ['no secret', { name: 'main' }, 'secret'],
      ['an empty secret', credential({ secret: '' }), 'secret'],
      ['a secret that is too long', credential({ secret: text(LIMITS.secretCharacters + 1) }), 'secret'],
      ['a secret with a blank', credential({ secret: 'a b' }), 'secret'],
      ['a secret that would end its header', credential({ secret: 'a\r\nx: y' }), 'secret'],
      ['a secret with a line break at its end', credential({ secret: 'a\n' }), 'secret'],
      ['a secret beyond ASCII', credential({ secret: 'schlüssel' }), 'secret'],
      ['a negative weight', credential({ weight: -1 }), 'weight'],
      ['a weight beyond the bound', credential({ weight: 1_001 }), 'weight'],
      ['half a weight', credential({ weight: 0.5 }), 'weight'],
      ['an unknown field', credential({ hint: 'abcd' }), 'hint'],
    ],
  },
  'a change of a credential': {
    schema: CredentialPatch,
    accepted: [
      ['nothing', {}],
      ['switched off', { enabled: false }],
      ['another secret and weight', { secret: 'new', weight: 2 }],
    ],
    refused: [
      ['another name', { name: 'other' }, 'name'],
      ['an empty secret', { secret: '' }, 'secret'],
      ['a switch that is text', { enabled: 'no' }, 'enabled'],
    ],
  },
}

describe.each(Object.entries(REQUESTS))('%s', (_name, { schema, accepted, refused }) => {
  test.each(accepted)('is accepted: %s', (_case, value) => expectAccepted(schema, value))
  test.each(refused)('is refused at the field at fault: %s', (_case, value, path) => expectRefused(schema, value, path))
})
