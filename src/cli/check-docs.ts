import { existsSync, globSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { ROOT, runCommand } from './command.ts'

/** Checks README.md and docs/: every relative link, its anchor, and every path in backticks must exist. */
const checkDocs = async (): Promise<number> => {
  const pages = ['README.md', ...globSync('docs/**/*.md', { cwd: ROOT })].filter((page) => existsSync(join(ROOT, page)))
  const problems = pages.flatMap((page) => problemsOf(page))
  for (const problem of problems) process.stderr.write(`${problem}\n`)
  process.stdout.write(`docs: ${pages.length} pages, ${problems.length} problems\n`)
  return problems.length === 0 ? 0 : 1
}

const problemsOf = (page: string): string[] => {
  const lines = withoutCode(readFileSync(join(ROOT, page), 'utf8'))
  return lines.flatMap((line, index) => {
    const at = `${page}:${index + 1}`
    const links = [...line.matchAll(/\[[^\]]*\]\(([^)\s]+)(?:\s+"[^"]*")?\)/g)].map((match) => match[1] ?? '')
    const quoted = [...line.matchAll(/`([^`\s]+)`/g)].map((match) => match[1] ?? '').filter(isPath)
    return [
      ...links.flatMap((link) => problemOfLink(page, link)).map((problem) => `${at} ${problem}`),
      ...quoted.filter((path) => !existsSync(join(ROOT, path))).map((path) => `${at} no such file: ${path}`),
    ]
  })
}

const problemOfLink = (page: string, link: string): string[] => {
  if (/^[a-z][a-z0-9+.-]*:/i.test(link)) return []
  const [path = '', anchor] = decodeURIComponent(link).split('#')
  const target = path === '' ? page : normalize(join(dirname(page), path))
  const file = join(ROOT, target)
  if (relative(ROOT, file).startsWith('..') || !existsSync(file)) return [`broken link: ${link}`]
  if (!anchor || !statSync(file).isFile() || !target.endsWith('.md')) return []
  return anchorsOf(readFileSync(file, 'utf8')).has(anchor) ? [] : [`no such heading: ${link}`]
}

/** A path as this repository writes it: from one of its top folders, without a pattern or a placeholder. */
const isPath = (text: string): boolean =>
  /^(src|test|docs|migrations|\.ci)\/[\w./-]*\w\/?$/.test(text) && !text.includes('..')

/** Heading anchors as GitHub makes them: lower case, punctuation dropped, spaces to dashes, repeats numbered. */
const anchorsOf = (text: string): Set<string> => {
  const anchors = new Set<string>()
  for (const line of withoutCode(text)) {
    const heading = /^#{1,6}\s+(.*?)\s*#*$/.exec(line)?.[1]
    if (heading === undefined) continue
    const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase()
    const base = plain.replace(/[^\p{L}\p{N}\s_-]/gu, '').replace(/\s/g, '-')
    let anchor = base
    for (let repeat = 1; anchors.has(anchor); repeat += 1) anchor = `${base}-${repeat}`
    anchors.add(anchor)
  }
  return anchors
}

/** Lines of fenced blocks become empty: what is in them is an example, and line numbers stay. */
const withoutCode = (text: string): string[] => {
  let fenced = false
  return text.split('\n').map((line) => {
    const fence = /^\s*(```|~~~)/.test(line)
    if (fence) fenced = !fenced
    return fenced || fence ? '' : line
  })
}

await runCommand(checkDocs)
