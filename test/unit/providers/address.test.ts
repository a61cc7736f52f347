import { describe, expect, it } from 'vitest'
import { refusesAddress, refusesFetching } from '../../../src/providers/address.ts'

const PUBLIC = [
  'https://api.ideogram.ai/v2/generations/x',
  'https://API.Ideogram.AI:8443/path?q=1',
  'https://ideogram.ai/api/images/ephemeral/a.png?exp=1&sig=2',
  'https://8.8.8.8/',
  'https://172.15.0.1/',
  'https://172.32.0.1/',
  'https://100.63.255.255/',
  'https://[2606:4700:4700::1111]/',
  'https://localhost.example.com/',
  'https://xn--bcher-kva.example/',
]

/** Closed to everyone, development included. */
const NEVER = [
  'ftp://example.com/',
  'file:///etc/passwd',
  'data:text/plain,hello',
  'javascript:alert(1)',
  'ws://example.com/',
  'not a url',
  '//example.com/',
  '',
  'https://user@example.com/',
  'https://user:password@example.com/',
  'https://:password@example.com/',
  'https://example.com./',
  'https://localhost./',
  'https://127.0.0.1.example.com./',
  // Cloud metadata and link-local, in every spelling.
  'https://169.254.169.254/latest/meta-data/',
  'https://169.254.170.2/',
  'https://2852039166/',
  'https://0xa9fea9fe/',
  'https://0xa9.0xfe.0xa9.0xfe/',
  'https://0251.0376.0251.0376/',
  'https://169.254.43518/',
  'https://[::ffff:169.254.169.254]/',
  'https://[::ffff:a9fe:a9fe]/',
  'https://[64:ff9b::169.254.169.254]/',
  'https://[2002:a9fe:a9fe::]/',
  'https://[fd00:ec2::254]/',
  'https://[fd00:0ec2:0:0:0:0:0:0254]/',
  'https://[fd20:ce::254]/',
  'https://[fe80::1]/',
  'https://100.100.100.200/',
  'https://192.0.0.192/',
  'https://metadata.google.internal/computeMetadata/v1/',
  'https://METADATA.google.internal/',
  'https://metadata/',
  // Not unicast, or not handed out.
  'https://0.0.0.0/',
  'https://0/',
  'https://[::]/',
  'https://224.0.0.1/',
  'https://239.255.255.250/',
  'https://[ff02::1]/',
  'https://255.255.255.255/',
  'https://240.0.0.1/',
  'https://192.0.2.1/',
  'https://198.51.100.7/',
  'https://203.0.113.9/',
  'https://198.18.0.1/',
  'https://192.88.99.1/',
  'https://[2001:db8::1]/',
  'https://[2001::1]/',
  'https://[2002:7f00:1::]/',
  'https://[64:ff9b::127.0.0.1]/',
  'https://[64:ff9b:1::1]/',
  'https://[100::1]/',
  'https://[::127.0.0.1]/',
  'https://[::7f00:1]/',
  'https://[fec0::1]/',
  'https://[5f00::1]/',
]

/** Closed to production, open to development. */
const PRIVATE = [
  'https://127.0.0.1/',
  'https://127.1/',
  'https://127.255.255.254/',
  'https://2130706433/',
  'https://0x7f000001/',
  'https://0x7f.1/',
  'https://017700000001/',
  'https://0177.0.0.1/',
  'https://127.0.0.1:8787/',
  'https://[::1]/',
  'https://[0:0:0:0:0:0:0:1]/',
  'https://[::ffff:127.0.0.1]/',
  'https://[::ffff:7f00:1]/',
  'https://[::ffff:10.0.0.1]/',
  'https://10.0.0.1/',
  'https://10.255.255.255/',
  'https://012.0.0.1/',
  'https://172.16.0.1/',
  'https://172.31.255.255/',
  'https://192.168.1.1/',
  'https://192.168.257/',
  'https://100.64.0.1/',
  'https://100.127.255.255/',
  'https://[fc00::1]/',
  'https://[fd12:3456::1]/',
  'https://localhost/',
  'https://LOCALHOST:3000/',
  'https://api.localhost/',
  'https://printer.local/',
  'https://vault.internal/',
  'https://router.home.arpa/',
  'https://intranet/',
  'https://１２７.０.０.１/',
  'https://ⓛocalhost/',
]

describe('the address guard', () => {
  it.each(PUBLIC)('lets %s out', (url) => {
    expect(refusesAddress(url, false)).toBeNull()
    expect(refusesAddress(url, true)).toBeNull()
  })

  it.each(NEVER)('refuses %s even in development', (url) => {
    expect(refusesAddress(url, false)).toEqual(expect.any(String))
    expect(refusesAddress(url, true)).toEqual(expect.any(String))
  })

  it.each(PRIVATE)('lets %s out in development only', (url) => {
    expect(refusesAddress(url, false)).toEqual(expect.any(String))
    expect(refusesAddress(url, true)).toBeNull()
  })

  it('lets plain http out in development only', () => {
    expect(refusesAddress('http://example.com/', false)).toBe('must use https')
    expect(refusesAddress('http://127.0.0.1:8080/', true)).toBeNull()
    expect(refusesAddress('http://169.254.169.254/', true)).toEqual(expect.any(String))
  })

  it('never repeats the address, which may hold a signature', () => {
    for (const url of [...NEVER, ...PRIVATE]) {
      const host = url.replace(/^\w+:\/*/, '').replace(/[/:?].*/, '')
      if (host.length > 6 && !host.startsWith('metadata')) expect(refusesAddress(url, false)).not.toContain(host)
    }
  })
})

/** A server behind us may read an address otherwise than we do; of these some readers see another host. */
const TWO_READINGS = [
  'http://example.com\\@127.0.0.1/a.png',
  'http://example.com\\a.png',
  'http:///example.com/a.png',
  'http:\\\\example.com/a.png',
  'http://012.8.8.8/a.png',
  'http://134744072/a.png',
  'http://8.8.2056/a.png',
  'http://ｅxample.com/a.png',
  'http://exam%70le.com/a.png',
  'http://exa\tmple.com/a.png',
  ' https://example.com/a.png',
]

describe('the guard of what a provider is asked to fetch', () => {
  it.each([...PUBLIC, 'http://example.com/a.png', 'HTTPS://Example.com:443/a.png', 'http://8.8.8.8:80?a'])(
    'lets %s be fetched',
    (url) => {
      expect(refusesFetching(url, false)).toBeNull()
      expect(refusesFetching(url, true)).toBeNull()
    },
  )

  it.each([...NEVER, ...TWO_READINGS])('refuses %s even in development', (url) => {
    expect(refusesFetching(url, false)).toEqual(expect.any(String))
    expect(refusesFetching(url, true)).toEqual(expect.any(String))
  })

  it.each([...PRIVATE, ...PRIVATE.map((url) => url.replace('https:', 'http:'))])('refuses %s', (url) => {
    expect(refusesFetching(url, false)).toEqual(expect.any(String))
  })

  it('lets servers of one’s own be named in development', () => {
    expect(refusesFetching('http://127.0.0.1:8080/a.png', true)).toBeNull()
    expect(refusesFetching('http://localhost/a.png', true)).toBeNull()
  })
})
