import ipaddr from 'ipaddr.js'

/**
 * The guard every outgoing URL passes: base URLs are set by administrators, result URLs by providers and pictures' URLs by
 * whoever asks, so all could point into our own network. It judges what the URL says. A public name that resolves to a
 * private address (DNS rebinding, names such as 10.0.0.1.nip.io) is out of its reach: a Worker cannot look a name up and
 * then connect to that very address. On Cloudflare there is no private network behind `fetch` to reach that way.
 */

/** Names that lead inward by convention: RFC 6761, RFC 6762, RFC 8375, ICANN's `.internal`. */
const INWARD_SUFFIXES = ['localhost', 'local', 'internal', 'home.arpa']

/** Cloud metadata services that a range does not cover, or that `allowPrivate` would otherwise open. */
const METADATA_NAMES = ['metadata', 'metadata.google.internal', 'instance-data', 'instance-data.ec2.internal']
const METADATA_ADDRESSES = [
  '100.100.100.200', // Alibaba Cloud
  '192.0.0.192', // Oracle Cloud
  'fd00:ec2::254', // AWS
  'fd20:ce::254', // Google Cloud
]

/** Ranges of this machine and its own network: open to development, where emulators and local models live. */
const PRIVATE_RANGES = ['loopback', 'private', 'uniqueLocal', 'carrierGradeNat']

/**
 * Why this URL must not be called, or null where it may. Pure. `allowPrivate` opens plain http and the machine's own
 * network, for development; link-local addresses and cloud metadata services stay closed even then.
 */
export const refusesAddress = (url: string, allowPrivate: boolean): string | null => {
  const origin = PLAIN_ORIGIN.exec(url)?.[0]
  if (origin === undefined) return judge(url, allowPrivate)
  const judged = allowPrivate ? judgedForDevelopment : judgedForAll
  const before = judged.get(origin)
  if (before !== undefined) return before
  if (judged.size >= JUDGED_MAX) judged.clear()
  const reason = judge(url, allowPrivate)
  judged.set(origin, reason)
  return reason
}

/** Calls go to few places: the last judgements, for URLs of which all that is judged stands in a plain scheme and host. */
const judgedForAll = new Map<string, string | null>()
const judgedForDevelopment = new Map<string, string | null>()
const JUDGED_MAX = 256
const PLAIN_ORIGIN = /^https?:\/\/[a-z0-9.:[\]-]+(?=\/)/

/**
 * Why a provider must not be sent to fetch this URL, or null where it may. Pure. Plain http is the provider's own affair. It
 * reads the URL anew, perhaps by other rules than ours, so a host must be written such that there is one way to read it.
 */
export const refusesFetching = (url: string, allowPrivate: boolean): string | null => {
  const reason = judge(url, allowPrivate, true)
  if (reason !== null) return reason
  const [, written] = WRITTEN_HOST.exec(url) ?? []
  const { hostname } = new URL(url)
  const isPlain = hostname.startsWith('[') ? written?.startsWith('[') : written?.toLowerCase() === hostname
  return isPlain ? null : 'must write its host plainly, other alphabets as xn--'
}

const WRITTEN_HOST = /^https?:\/\/([^/?#]*?)(?::\d*)?(?:[/?#]|$)/i

const judge = (url: string, allowPrivate: boolean, allowHttp = allowPrivate): string | null => {
  const parsed = URL.canParse(url) ? new URL(url) : null
  if (!parsed) return 'is not a URL'
  if (parsed.protocol !== 'https:' && parsed.protocol !== 'http:') return 'must be an http or https URL'
  if (parsed.protocol === 'http:' && !allowHttp) return 'must use https'
  if (parsed.username !== '' || parsed.password !== '') return 'must not hold a user name or password'
  // The URL parser has already lowered the name and turned every spelling of an IPv4 address (decimal, hexadecimal,
  // octal, short) into four numbers.
  const host = parsed.hostname.replace(/^\[|\]$/g, '')
  return ipaddr.isValid(host) ? refusesIp(host, allowPrivate) : refusesName(host, allowPrivate)
}

const refusesName = (name: string, allowPrivate: boolean): string | null => {
  if (name.endsWith('.')) return 'must not end its host name with a dot'
  if (METADATA_NAMES.includes(name)) return 'leads to a metadata service'
  if (allowPrivate) return null
  if (!name.includes('.')) return 'must name a host with a domain'
  const inward = INWARD_SUFFIXES.some((suffix) => name.endsWith(`.${suffix}`))
  return inward ? 'leads into a private network' : null
}

const refusesIp = (host: string, allowPrivate: boolean): string | null => {
  // `process` unwraps IPv4-mapped IPv6.
  const address = ipaddr.process(host)
  const range = address.range()
  const metadata = METADATA_ADDRESSES.some((known) => ipaddr.parse(known).toString() === address.toString())
  if (metadata || range === 'linkLocal') return 'leads to a link-local or metadata address'
  if (PRIVATE_RANGES.includes(range)) return allowPrivate ? null : 'leads into a private network'
  if (range !== 'unicast') return 'is not a public address'
  // Only 2000::/3 is handed out (RFC 4291); the rest, such as the old ::a.b.c.d and fec0::, may still lead inward.
  if (address.kind() === 'ipv6' && (address.toByteArray()[0] ?? 0) >> 5 !== 1) return 'is not a public address'
  return null
}
