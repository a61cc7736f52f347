/**
 * Every bound and default of the product, in one place: what it limits, its unit (last in the name) and why it is that
 * number. A test per limit lives beside the code that keeps it.
 */
export const LIMITS = {
  // ------------------------------------------------------------------------------------------------ requests
  /** Largest JSON body the edge reads. A job's input is text and options; files travel as artifacts. */
  bodyBytes: 256 * 1024,
  /** Deepest nesting of a JSON body; far below what overflows a recursive walk. */
  jsonDepth: 32,
  /** Longest path plus query the router looks at. Ids are at most 64 characters. */
  urlCharacters: 4096,
  requestIdCharacters: 128,
  idempotencyKeyCharacters: 255,
  /** Longest an idempotency key is remembered. The promise is "24 h at least". */
  idempotencyKeepMs: 24 * 60 * 60 * 1000,
  /** `Prefer: wait=n`: a minute keeps a request below the idle limits of common proxies. */
  waitSeconds: 60,
  pageDefault: 20,
  pageMax: 100,

  // ---------------------------------------------------------------------------------------------------- jobs
  promptCharacters: 10_000,
  /** Images of one job: the most that Ideogram makes in one call. */
  imagesPerJob: 8,
  /** The largest seed all image providers take: 31 bits. */
  seedMax: 2_147_483_647,
  /** The options of one provider in `provider_options`, as JSON. */
  optionsBytes: 16 * 1024,
  metadataKeys: 50,
  metadataKeyCharacters: 64,
  metadataValueCharacters: 512,
  modelsPerJob: 8,
  priorityDefault: 5,
  priorityMax: 9,
  /** One step of priority is worth this much waiting: priority 9 passes priority 0 for nine minutes, then ages level. */
  ageingPerPriorityMs: 60_000,
  deadlineDefaultSeconds: 600,
  deadlineMaxSeconds: 7 * 24 * 60 * 60,
  /** Farthest `not_before`: the platform's alarms are chained, but a year is a mistake, not a plan. */
  notBeforeMaxMs: 30 * 24 * 60 * 60 * 1000,
  attemptsDefault: 3,
  attemptsMax: 10,
  maxCostUsd: 10_000,
  /** Jobs waiting in one instance before `queue_full`. */
  queueDefault: 1_000_000,
  /** How far the position in the queue is counted exactly; behind it, the number of jobs of its kind is told instead. */
  queuePositionMax: 500,
  /** The same in the answer to a submit, which must stay quick while many stand before it. */
  queuePositionAtSubmit: 50,

  // ---------------------------------------------------------------------------------------- text and embeddings
  /** A chat's or embedding's body: images come inline. A Worker has 128 MB for all requests it serves at a time. */
  chatBodyBytes: 16 * 1024 * 1024,
  messagesPerChat: 4_096,
  partsPerMessage: 256,
  /** Of one text in a message: more than a million tokens, the longest context there is. */
  chatTextCharacters: 8_000_000,
  /** One image as a `data:` URI: 6 MB of picture, where the narrowest provider takes 5. */
  imageDataUriCharacters: 8 * 1024 * 1024,
  imageUrlCharacters: 8_192,
  /** OpenAI's own bounds. */
  toolsPerChat: 128,
  toolCallsPerMessage: 128,
  choicesPerChat: 128,
  stopSequences: 4,
  topLogprobs: 20,
  /** A tool's parameters or a `json_schema`, as JSON. */
  schemaBytes: 64 * 1024,
  /** State of a provider's own that goes back with an assistant's message, such as signed reasoning. */
  extraContentBytes: 256 * 1024,
  toolArgumentsCharacters: 1_000_000,
  stopCharacters: 256,
  logitBiases: 1_024,
  outputTokensMax: 1_000_000,
  /** Tokens of an answer without a stream whose request sets no limit: ten minutes by Anthropic's client's own reckoning. */
  wholeAnswerTokens: 21_333,
  modelNameCharacters: 128,
  descriptionCharacters: 8_192,
  identifierCharacters: 512,
  /** A client waits on the line: longer work is a job. */
  chatDeadlineMaxSeconds: 3_600,
  /** OpenAI's own: inputs of one call, tokens of one input. */
  embeddingInputs: 2_048,
  embeddingTokens: 8_192,
  embeddingDimensions: 16_384,
  /** One event of a provider's stream; the largest carry a whole tool call or an image. */
  streamEventCharacters: 4 * 1024 * 1024,

  // ----------------------------------------------------------------------------------------------- scheduling
  /** Job actors in a lane: a Worker invocation may wait on six response headers at a time. */
  actorsPerLane: 6,
  lanesPerInstance: 1_000,
  /** Assignments made in one transaction, so that a turn of the actor stays short. */
  claimsPerTurn: 256,
  /** Silence of a lane after which the Instance asks it what became of its attempts. */
  leaseMs: 10_000,
  /** Operations applied in one group commit. */
  groupCommitOperations: 1_024,
  /** First and longest wait between a lane's tries to deliver its reports. */
  reportRetryMs: 100,
  reportRetryMaxMs: 10_000,
  /**
   * A paid result that is being stored becomes durable after this, unless its end is heard before. A crash within it costs
   * what a crash just before the answer would have.
   */
  keepDelayMs: 20,
  /** Progress waits this long for a newer state or the end of its attempt, so that quick attempts report once. */
  progressDelayMs: 200,
  backoffBaseMs: 500,
  backoffMaxMs: 30_000,
  /** A wait a provider asks for, at most; a longer one is a broken header. */
  retryAfterMaxMs: 60 * 60 * 1000,
  modelsPerProvider: 200,
  concurrencyMax: 1_000,
  requestsPerMinuteMax: 1_000_000,
  requestsPerDayMax: 100_000_000,
  tokensPerMinuteMax: 50_000_000,

  /** Failures in a row that open a provider's breaker, and how long it stays open: doubling up to the maximum. */
  breakerFailures: 5,
  breakerOpenMs: 2_000,
  breakerOpenMaxMs: 120_000,
  /** How long an exhausted credential rests before it is tried again. */
  credentialCoolMs: 60_000,
  /** Least share of a configured limit that a provider's "too fast" can narrow it to; the step back up per success. */
  adaptiveShareMin: 0.1,
  adaptiveStep: 0.02,
  /** "Too fast" answers within this time count as one. */
  adaptiveQuietMs: 1_000,
  projectWeightMax: 1_000,
  projectsWeighted: 1_000,
  /** Waiting jobs looked at in one turn for another model, when their provider has failed. */
  reroutesPerTurn: 64,
  /** A model's track record is written at most this often. */
  trackRecordFlushMs: 10_000,

  /** What credentials were used for is written at most this often: a crash loses no more of it. */
  credentialUseFlushMs: 5_000,
  /** Secrets sealed anew in one transaction, so that a turn of the actor stays short. */
  resealsPerStep: 16,
  /** Before a lane that did not take newer seals is told again. */
  renewRetryMs: 5_000,
  /** Lanes told at once. */
  renewsAtOnce: 32,

  // ------------------------------------------------------------------------------------------------- providers
  /** From request to response headers of one provider call. */
  providerTimeoutMs: 120_000,
  providerTimeoutMaxMs: 600_000,
  /** A provider's JSON answer. */
  providerAnswerBytes: 4 * 1024 * 1024,
  /** An answer that holds its pictures in base64: all of them are in memory at once, twice while they are read. */
  inlineImagesBytes: 32 * 1024 * 1024,
  /** Pixels of all pictures of such an answer: a photo takes up to 3.3 bytes each as PNG in base64, the others a fifth. */
  inlinePngPixels: 9_500_000,
  inlinePixels: 36_000_000,
  redirects: 3,

  // ------------------------------------------------------------------------------------------------- artifacts
  artifactBytes: 50 * 1024 * 1024,
  /** Held in memory only where the provider does not say how long the file is. */
  artifactUnknownLengthBytes: 25 * 1024 * 1024,
  /** Up to this size a file is read and stored in one piece: six at once in a lane are 6 MiB. */
  artifactHeldBytes: 1024 * 1024,
  imageSideMax: 16_384,
  artifactFetchTimeoutMs: 60_000,
  cancelTimeoutMs: 10_000,
  /** A signed artifact URL stays good at least this long, at most twice as long: its expiry is rounded so caches can keep it. */
  artifactUrlMs: 60 * 60 * 1000,

  // ------------------------------------------------------------------------------------- events and subscribers
  ticketMs: 60_000,
  ticketsOpen: 1_000,
  subscribersPerInstance: 10_000,
  /** Events sent to one subscriber in one go while it catches up. */
  replayEvents: 500,
  /** Comment that keeps a quiet SSE stream open through proxies. */
  sseKeepAliveMs: 15_000,

  // --------------------------------------------------------------------------------------------- administration
  nameCharacters: 64,
  secretCharacters: 8_192,
  keysPerInstance: 1_000,
  credentialsPerProvider: 32,
  urlFieldCharacters: 2_048,
  instancesPerPage: 100,
  /** R2 deletes up to a thousand keys a call. */
  deleteKeysPerStep: 1_000,
} as const
