import * as v from 'valibot'
import { fault } from '../contract/fault.ts'
import { verifyArtifactSignature } from '../storage/signed-url.ts'
import { serveArtifact } from './artifacts.ts'
import { callerOf } from './auth.ts'
import { type Context, instanceOf, Refused, type Route } from './context.ts'
import { unwrap } from './respond.ts'

/** An artifact, to whoever holds its signed URL or a key that may read its job. Served from R2 without the Instance. */
const read = async (context: Context): Promise<Response> => {
  const { instance = '', artifact = '' } = context.params
  const job = /^art_([0-9A-HJKMNP-TV-Z]{26})_/.exec(artifact)?.[1]
  if (!job) throw noArtifact()
  const { exp, sig } = context.query
  if (typeof sig === 'string')
    await requireSignature(context, instance, artifact, typeof exp === 'string' ? exp : null, sig)
  else unwrap(await instanceOf(context).mayReadArtifact(await callerOf(context), `job_${job}`))
  const response = await serveArtifact(context.request, context.env.ARTIFACTS, instance, artifact)
  if (!response) throw noArtifact()
  return response
}

const requireSignature = async (
  context: Context,
  instance: string,
  artifact: string,
  exp: string | null,
  sig: string,
): Promise<void> => {
  const isGood = await verifyArtifactSignature(context.env.MASTER_KEY, instance, artifact, { exp, sig }, Date.now())
  if (!isGood)
    throw new Refused(
      fault('permission_denied', 'This link has expired or is not one of ours: read the job for a new one.'),
    )
}

const noArtifact = () => new Refused(fault('not_found', 'There is no such artifact.'))

export const artifactRoutes: Route[] = [
  {
    method: 'GET',
    path: '/v1/instances/:instance/artifacts/:artifact',
    summary: 'Read an artifact, with a key or by its signed URL',
    access: 'key',
    query: {
      exp: v.optional(v.pipe(v.string(), v.maxLength(16))),
      sig: v.optional(v.pipe(v.string(), v.maxLength(128))),
    },
    answers: { 200: 'image' },
    handle: read,
  },
]
