import type { JobEvent } from './client.ts'

/** How a job looks in a terminal. Pure: what to print for what was seen, and when. */
export type Style = { colour: boolean; width: number }

export type View = { phase: string; fraction: number; detail: string }

export const initialView: View = { phase: 'submitted', fraction: 0, detail: '' }

const PHASES: Record<string, string> = {
  'job.queued': 'queued',
  'job.started': 'started',
  'job.progress': 'working',
  'job.retrying': 'retrying',
  'job.fallback': 'falling back',
  'job.succeeded': 'succeeded',
  'job.failed': 'failed',
  'job.canceled': 'canceled',
}

/** What is shown after an event. The bar never moves back: a retry starts over behind it. */
export const step = (view: View, event: JobEvent): View => {
  const phase = PHASES[event.type]
  if (!phase) return view
  const progress = typeof event.data.progress === 'number' ? event.data.progress : 0
  const fraction = event.type === 'job.succeeded' ? 1 : Math.max(view.fraction, Math.min(1, Math.max(0, progress)))
  return { phase, fraction, detail: typeof event.data.message === 'string' ? event.data.message : '' }
}

/** One line of at most `width` characters, without a line end. */
export const bar = (view: View, elapsedMs: number, style: Style): string => {
  const right = ` ${String(Math.round(view.fraction * 100)).padStart(3)} %  ${seconds(elapsedMs)}  ${view.phase}`
  const cells = Math.max(8, Math.min(32, style.width - right.length - 40))
  const full = Math.round(view.fraction * cells)
  const drawn = paint(style, '36', '█'.repeat(full)) + paint(style, '2', '░'.repeat(cells - full))
  const room = style.width - cells - right.length - 3
  const detail = view.detail && room > 4 ? `  ${view.detail.slice(0, room)}` : ''
  return `${drawn}${right}${paint(style, '2', detail)}`
}

/** The plain form, one line an event: for logs and pipes. Null where nothing new is to be said. */
export const plainLine = (event: JobEvent, elapsedMs: number, lastTenth: number): string | null => {
  const phase = PHASES[event.type]
  if (!phase) return null
  if (event.type !== 'job.progress') return `${seconds(elapsedMs).padStart(7)}  #${event.seq} ${event.type}`
  const progress = typeof event.data.progress === 'number' ? event.data.progress : 0
  // A tenth at a time: a log of every percent hides the rest.
  return Math.floor(progress * 10) > lastTenth
    ? `${seconds(elapsedMs).padStart(7)}  ${Math.round(progress * 100)} %`
    : null
}

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

/** Null is "the provider did not say", which is not free. */
export const money = (usd: number | null): string => (usd === null ? 'unknown' : `$${usd.toFixed(usd < 0.01 ? 4 : 2)}`)

export const paint = (style: Pick<Style, 'colour'>, code: string, text: string): string =>
  style.colour && text !== '' ? `\u001b[${code}m${text}\u001b[0m` : text

/** Part of a file name: lower case, dashes, at most 48 characters. */
export const slug = (text: string): string =>
  text
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 48)
    .replace(/^-+|-+$/g, '') || 'picture'
