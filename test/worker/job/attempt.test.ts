import { env } from 'cloudflare:workers'
import { expect, test, vi } from 'vitest'
import type { Assignment } from '../../../src/contract/rpc.ts'
import { createVault } from '../../../src/instance/vault.ts'
import { runAttempt } from '../../../src/job/attempt.ts'
import { writeResume } from '../../../src/job/resume.ts'
import { Turnstile } from '../../../src/job/turnstile.ts'

const OLD = 'instance:prod:provider:replicate:credential:old'
const NEW = 'instance:prod:provider:replicate:credential:new'

test.each([
  ['a poll', writeResume({ stage: 'poll', checkpoint: { prediction_id: 'p' }, startedAtMs: 0, account: OLD })],
  ['a search', writeResume({ stage: 'reconcile', sinceMs: 0, attempt: 1, tries: 0, account: OLD })],
])('%s that began in another account is an unknown outcome, and asks nobody', async (_what, resume) => {
  const network = vi.spyOn(globalThis, 'fetch')
  const vault = createVault(env.MASTER_KEY)
  const assignment: Assignment = {
    job: 'job_01J00000000000000000000000',
    attempt: 2,
    type: 'image.generate@1',
    model: 'replicate/black-forest-labs/flux-schnell',
    input: '{"prompt":"x"}',
    baseUrl: 'https://api.replicate.com/v1',
    timeoutMs: 1_000,
    credential: { identity: NEW, sealed: await vault.seal('secret', NEW) },
    maxCostMicros: null,
    deadlineAtMs: Date.now() + 60_000,
    resume,
    requestId: 'req_1',
  }
  const step = await runAttempt(assignment, resume, {
    instance: 'prod',
    vault,
    artifacts: env.ARTIFACTS,
    allowPrivate: false,
    signal: new AbortController().signal,
    now: Date.now,
    progress: () => undefined,
    keep: () => undefined,
    keepSoon: () => undefined,
    checking: new Turnstile(1),
  })
  expect(step).toMatchObject({
    kind: 'ended',
    end: { fault: { code: 'outcome_unknown' }, costMicros: null, resume: null },
  })
  expect(network).not.toHaveBeenCalled()
})
