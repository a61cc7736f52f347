import type { ChatDialect, TextProvider } from './dialect.ts'
import { decodeGemini } from './gemini-answer.ts'
import { geminiEmbed } from './gemini-embeddings.ts'
import { GEMINI_CHAT_MODELS, GEMINI_EMBED_MODELS } from './gemini-models.ts'
import { encodeGemini, refusesGemini } from './gemini-request.ts'
import { openGeminiStream } from './gemini-stream.ts'
import { NO_RATE } from './gemini-wire.ts'

const chat: ChatDialect = {
  refuses: refusesGemini,
  encode: encodeGemini,
  decode: decodeGemini,
  openStream: openGeminiStream,
  rate: () => NO_RATE,
}

/** Gemini by Google's API for developers. Limits are by project, model and tier, so none is assumed but what one Worker can hold open. */
export const geminiText: TextProvider = {
  id: 'google',
  title: 'Google Gemini',
  // Without a version: see gemini-wire.ts.
  defaultBaseUrl: 'https://generativelanguage.googleapis.com',
  defaultLimits: { concurrency: 200 },
  // https://ai.google.dev/gemini-api/docs/rate-limits: by project and model.
  countsBy: 'model',
  needsSecret: true,
  chat,
  embed: geminiEmbed,
  chatModels: GEMINI_CHAT_MODELS,
  embedModels: GEMINI_EMBED_MODELS,
  unlisted: null,
}
