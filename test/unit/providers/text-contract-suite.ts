import { afterAll, beforeAll, describe } from 'vitest'
import type { ChatInput } from '../../../src/contract/chat.ts'
import type { Route } from '../../../src/contract/route.ts'
import type { AiBinding } from '../../../src/providers/binding-call.ts'
import type { TextProvider } from '../../../src/providers/dialect.ts'
import { answersAsAsked } from './text-contract/answers.ts'
import { Attempts } from './text-contract/attempts.ts'
import { embedsTexts } from './text-contract/embeddings.ts'
import { endsWithItsCaller } from './text-contract/ends.ts'
import { tellsFaults } from './text-contract/faults.ts'
import { usesTools } from './text-contract/tools.ts'
import type { Wire } from './text-contract/wires.ts'

/** A stand-in for the provider, and the way to it. */
export type TextStand = {
  baseUrl: string
  route?: Route
  ai?: AiBinding
  /** As it is sealed; null where the way needs none. */
  secret: string | null
  /** All that must never be told: the secret, and its parts. */
  secrets: string[]
  /** What it has accepted, which is to say billed, and how many clients left before their answer was whole. */
  stats(): { accepted: number; left: number }
  /** Tokens of the call that it accepted last, as it bills them. */
  billed(): { prompt: number; cached: number; output: number; reasoning: number }
  close(): Promise<void>
}

/** Prompts that make the stand-in behave in one way each. Those that all stand-ins know in the same words are in the cases. */
export type TextPrompts = {
  /** 401 and 403. */
  badKey: string
  forbidden: string
  noModel: string
  badInput: string
  /** 429, without and with the wish to wait for seven seconds. */
  rateLimited: string
  rateLimitedForSevenSeconds: string
  /** Null where the provider has no word for it. */
  quotaExhausted: string | null
  overloaded: string
  /** Ends an answer by a filter; null where no answer says so. */
  filtered: string | null
  /** Bills five tokens as read from a cache and seven as thoughts. */
  counted: string
  /** An error as the given event of a stream. */
  errorEvent(at: number): string
}

export type TextSubject = {
  /** How the tests call it: the provider, and by which way where there are several. */
  name: string
  provider: TextProvider
  /** Bare name of the model to ask; it sees pictures. */
  model: string
  /** Goes with every input, such as the version of the API. */
  always?: Partial<ChatInput>
  /** One that sees none, where the provider has such. */
  blindModel: string | null
  /** Whether it gives several choices. */
  takesN: boolean
  embeds: {
    model: string
    dimensions: number
    /** Whether vectors are asked for in base64. */
    base64: boolean
    /** Whether shorter vectors can be had, and inputs be token ids. */
    shortens: boolean
    takesTokens: boolean
    tellsUsage: boolean
  } | null
  wire: Wire
  start(): Promise<TextStand>
  prompts: TextPrompts
}

/** What every part of the suite works with. */
export type Bench = { subject: TextSubject; attempts: Attempts; stand(): TextStand }

/** The suite every provider of text passes unchanged, by every way that leads to it. */
export const describeTextProvider = (subject: TextSubject): void => {
  describe(`${subject.name}, as every provider of text,`, () => {
    let stand: TextStand
    beforeAll(async () => {
      stand = await subject.start()
    })
    afterAll(() => stand.close())
    const bench: Bench = { subject, attempts: new Attempts(subject, () => stand), stand: () => stand }
    answersAsAsked(bench)
    usesTools(bench)
    tellsFaults(bench)
    endsWithItsCaller(bench)
    embedsTexts(bench)
  })
}
