import type { ServerResponse } from 'node:http'
import type { Given } from './directives.ts'

/** What directives do to a request before it is accepted, which is to say billed. */

/** Which of the two refuses this request, if one does: `fail`, or `fail_once` where the prompt is seen for the first time. */
export function failing(
  directives: Given<'fail' | 'fail_once'>,
  isFirstSight: () => boolean,
): 'fail' | 'fail_once' | undefined {
  if (directives.has('fail')) return 'fail'
  return directives.has('fail_once') && isFirstSight() ? 'fail_once' : undefined
}

/** What a refusal says where it repeats what it should not, as some do: the key and the prompt. */
export const echoing = (
  directives: Given<'echo'>,
  message: string,
  { apiKey, text }: { apiKey: string; text: string },
) => (directives.has('echo') ? `${message} The key is ${apiKey}, the prompt: ${text}` : message)

/** Whether the connection is broken, which is counted. */
export function isCutBefore(
  { ledger }: { ledger: { countRejected(how: 'cut'): void } },
  response: ServerResponse,
  directives: Given<'cut_before'>,
): boolean {
  if (!directives.has('cut_before')) return false
  ledger.countRejected('cut')
  response.destroy()
  return true
}
