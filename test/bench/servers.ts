import { execFileSync } from 'node:child_process'
import { chownSync, existsSync, globSync, mkdirSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Child, freePort, startChild } from './processes.ts'

/** Private Redis and PostgreSQL servers in temporary folders, where they are installed. */

export const HOW_TO_INSTALL = 'apt-get install redis-server postgresql'

export type Server = Child & { port: number; durability: string; version: string }

export const startRedis = async (folder: string, appendfsync: 'always' | 'everysec'): Promise<Server | null> => {
  const program = find('redis-server', [])
  if (!program) return null
  mkdirSync(folder, { recursive: true })
  const port = await freePort()
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '']
  const child = await startChild(program, [...args, '--appendonly', 'yes', '--appendfsync', appendfsync], {
    ready: /Ready to accept connections/,
  })
  const version = /v=(\S+)/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))?.[1] ?? 'unknown'
  return { ...child, port, durability: `appendonly yes, appendfsync ${appendfsync}`, version }
}

export const startPostgres = async (folder: string): Promise<Server | null> => {
  const places = globSync('/usr/lib/postgresql/*/bin').sort().reverse()
  const program = find('postgres', places)
  const initdb = find('initdb', places)
  if (!program || !initdb) return null
  mkdirSync(folder, { recursive: true })
  const user = serverUser()
  if (user) chownSync(folder, user.uid, user.gid)
  const data = join(folder, 'data')
  execFileSync(initdb, ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-locale', '-E', 'UTF8'], {
    ...user,
    cwd: folder,
    stdio: 'ignore',
  })
  const port = await freePort()
  const settings = [
    'fsync=on',
    'synchronous_commit=on',
    'listen_addresses=127.0.0.1',
    `unix_socket_directories=${folder}`,
  ]
  const args = ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])]
  // SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for clients.
  const child = await startChild(program, args, { ready: /ready to accept connections/, user, stopSignal: 'SIGINT' })
  const version = /\d+[\d.]*/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))?.[0] ?? 'unknown'
  return { ...child, port, durability: 'fsync on, synchronous_commit on', version }
}

const find = (name: string, more: string[]): string | null =>
  [...more, ...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path)) ?? null

/** PostgreSQL refuses to run as root: then it runs as the user its package made. */
const serverUser = (): { uid: number; gid: number } | undefined => {
  if (process.getuid?.() !== 0) return undefined
  const [, uid, gid] = /^postgres:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8')) ?? []
  return { uid: Number(uid ?? 65_534), gid: Number(gid ?? 65_534) }
}
