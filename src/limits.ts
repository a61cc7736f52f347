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
  /** Models whose limiters stand ready in memory. */
  modelsRemembered: 1_000,
  attemptsMax: 10,
  /** Rate-limited attempts kept per job and model: enough to see how it began and how it goes; more than the backoff counts. */
  rateLimitedAttemptsKept: 10,
  maxCostUsd: 10_000,
  /** Jobs waiting in one instance before `queue_full`. */
  queueDefault: 1_000_000,
  /** Jobs of one batch: all are checked and admitted in one transaction, which must stay short. */
  jobsPerBatch: 100,
  /** Body of a batch: a hundred jobs of 40 KiB. Across RPC it travels whole, so far below the platform's 32 MiB. */
  batchBodyBytes: 4 * 1024 * 1024,
  /** A job's input as JSON, in a batch too: as much as the body of a single job may hold. It lies in the job's row. */
  jobInputBytes: 256 * 1024,
  /** A text job's output as JSON: it lies in the job's row, of which the platform takes 2 MB. A completion of some 100,000 tokens. */
  jobOutputBytes: 512 * 1024,
  /** Inputs and outputs of one page of jobs, all together: a page of long texts is short, for an actor has 128 MB and copies them. */
  jobsPageCharacters: 4 * 1024 * 1024,
  /** How far the position in the queue is counted exactly; behind it, the number of jobs of its kind is told instead. */
  queuePositionMax: 500,
  /** The same in the answer to a submit, which must stay quick while many stand before it. */
  queuePositionAtSubmit: 50,
  /** Jobs at the end of each queue whose place is known without counting: as many as one group of submits brings. */
  queueTail: 1_024,
  /** Of jobs that were asked after lately, kept in memory: characters of their rows together, and attempts. */
  recentRowsCharacters: 4 * 1024 * 1024,
  recentAttempts: 2_000,

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
  /** A client waits on the line: longer work is a job. The default is that of OpenAI's own clients. */
  chatDeadlineMaxSeconds: 3_600,
  chatDeadlineDefaultSeconds: 600,
  /** A call waits this long for its turn before it is `rate_limited`: shorter than a client that retries would. */
  lineWaitMs: 10_000,
  /** From the response headers to the first text: models that reason are silent meanwhile. */
  firstTextStallMs: 180_000,
  /** Pieces without text, held before the first that has some: more are no preparation but an answer. */
  heldPieces: 256,
  /** From one piece of text to the next, while the client takes them: no model pauses so long. */
  nextTextStallMs: 60_000,
  /** A connection that has answered within this time is taken to be there: its requests go out whole at once. */
  originProvenMs: 60_000,
  originsRemembered: 256,
  /** What follows the terminator of a stream, so that its connection can be used again. */
  streamTailMs: 1_000,
  /** A provider's answer in one piece: a thousand of the longest vectors in base64. */
  textAnswerBytes: 24 * 1024 * 1024,
  /** Open calls are renewed this often; the Instance gives one up after three times as long. */
  callRenewMs: 10_000,
  /** An alarm that has not rung so long after its time is set again by whoever asks next to be woken. */
  alarmLateMs: 1_000,
  /** Tries to tell the Instance how a call ended, 100 ms apart and doubling; then its lease tells. */
  closeTries: 5,
  /** Ends of answered calls are told at once, but no oftener than this: then all that came meanwhile, together. */
  settleGatherMs: 5,
  settlementsPerMessage: 256,
  /** Output that a request without a limit is expected to use at most, per choice. */
  outputTokensExpected: 1_024,
  /** The same of a model that reasons, before a call begins: what it thinks counts, and less is mostly no answer at all. */
  reasonedTokensExpected: 4_096,
  /**
   * A hold prices a prompt with this many times its estimated tokens: the estimate is up to 30 % low, and newer tokenizers
   * make up to 35 % more of a text than the one that it was measured by.
   */
  promptTokensMargin: 1.5,
  /** What a provider puts before a prompt with tools or a format: up to 804 tokens as Anthropic documents them. */
  hiddenPromptTokens: 1_024,
  /** Of a picture in a prompt, for a hold: above the most that the newest models count for one, 4,784 of Claude's. */
  imageTokensMost: 5_000,
  /**
   * An attempt without an output limit holds this share of what a budget has left, beside what it is expected to cost, until
   * all that its model could write is held. More would leave little to calls that begin at the same time, less would cut
   * the answers of a client that calls alone.
   */
  budgetShareOfCall: 1 / 16,
  /** Of one picture in a prompt: about what the providers count for one of a megapixel, and for one seen in low detail. */
  imageTokens: 1_000,
  imageTokensLow: 85,
  /** Text longer than this is measured by samples: before a call only the size of its hold hangs on it. */
  estimateCharacters: 8_192,
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
  /** A lane that reports all the time is asked this often whether it still knows all its attempts. */
  laneCheckMs: 30_000,
  /** Wait for a lane's answer to what became of its attempts, which it gives from memory, and for its verdict to be written. */
  laneAnswerMs: 4_000,
  /** A waiting job whose row cannot be read is looked at again after this time, until its deadline. */
  unreadableRetryMs: 10 * 60 * 1000,
  /** Silence of a Worker after which an attempt that it drives on the line is given up for lost; it renews three times as often. */
  foregroundLeaseMs: 30_000,
  /** Operations applied in one group commit. */
  groupCommitOperations: 1_024,
  /** How long a group waits for more operations while many arrive. */
  groupCommitLingerMs: 3,
  /** How long what nobody waits for waits for something to be committed with. */
  groupCommitPatienceMs: 10,
  /** Clocks of two machines may differ by this much; one that goes back farther was set back. */
  clockSkewMs: 1_000,
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
  /** A job whose model's limits let nothing begin for longer may leave for another model that can start now. */
  limitWorthWaitingMs: 30_000,
  /** How long an exhausted credential rests before it is tried again. */
  credentialCoolMs: 60_000,
  /** Least share of a configured limit that a provider's "too fast" can narrow it to; the step back up per success. */
  adaptiveShareMin: 0.1,
  adaptiveStep: 0.02,
  /** Models that were slowed by themselves, each with one credential or with all: a row and some hundred bytes each. */
  pacesRemembered: 1_000,
  /** Of them in `RateLimit`, those with the least left: some hundred bytes of headers each. */
  pacesInHeaders: 8,
  /** "Too fast" answers within this time count as one. */
  adaptiveQuietMs: 1_000,
  projectWeightMax: 1_000,
  projectsWeighted: 1_000,
  /** Projects whose place in a line is remembered, per provider and priority: twice as many as have a weight. */
  projectsRemembered: 2_000,
  /** Waiting jobs looked at in one turn for another model, when their own cannot be called. */
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
  // --------------------------------------------------------------------------------------------------- money
  /** Largest budget: far below where integer micros lose precision, 9 billion US dollars. */
  budgetUsd: 100_000_000,
  /** Budgets of one instance; each is looked at in memory, and all are listed at once. */
  budgetsPerInstance: 1_000,
  projectsPerInstance: 1_000,
  alertsPerBudget: 10,
  /** Scopes that one answer of the ledger lists; the sums are over all of them. */
  ledgerScopes: 1_000,
  /** Longest that a job waits for its budget: longer than any month, so that the next window is always reached. */
  budgetWaitMs: 32 * 24 * 60 * 60 * 1000,
  /** Jobs that wait for their budget and are looked at in one turn, when there is room again. */
  budgetLooksPerTurn: 64,
  // ---------------------------------------------------------------------------------------------- dead letters
  /** Dead letters looked at for one page or one step of a replay: a filter that matches little must not make a long turn. */
  deadLettersPerScan: 5_000,
  /** The oldest dead letters that one replay by filter, or one summary, covers: counting them over an index takes 20 ms. */
  deadLettersPerReplay: 50_000,
  /** Pace of a replay by filter, in jobs per minute: the default lets a provider recover, the maximum keeps a step below 100 jobs. */
  replaysPerMinuteDefault: 600,
  replaysPerMinuteMax: 6_000,
  /** Replays by filter at work in one instance, and ended ones that are remembered. */
  replaysOpen: 10,
  replaysKept: 1_000,
  /** Dead letters discarded in one call. */
  discardsPerCall: 1_000,
  /**
   * How long after a generation a replay still fetches what the provider made instead of buying anew: Replicate deletes
   * its files after an hour, and a replay must have time to run.
   */
  storedPointMs: 50 * 60 * 1000,

  // ------------------------------------------------------------------------------------------------- providers
  /** From request to response headers of one provider call. */
  providerTimeoutMs: 120_000,
  providerTimeoutMaxMs: 600_000,
  /** A provider's JSON answer. */
  providerAnswerBytes: 4 * 1024 * 1024,
  /** An answer that holds its pictures in base64: all of them are in memory at once, twice while they are read. */
  inlineImagesBytes: 32 * 1024 * 1024,
  /** Pictures that are answered in base64, all together; larger ones are answered as addresses. */
  answeredImageBytes: 16 * 1024 * 1024,
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
  /**
   * Pictures that are checked are held in memory, and decoded there one at a time. An actor has 128 MB: room for the files
   * of `checksPerLane` pictures, and for one decoder at work.
   */
  checksPerLane: 2,
  checkedBytes: 20 * 1024 * 1024,
  /** Larger ones are not decoded. Beyond 2048 × 2048, the most that most models make, for shapes that are rounded up. */
  checkedPixels: 4_718_592,
  /** Scanlines of a PNG, which the decoder holds three times over: `checkedPixels` in four samples of a byte. */
  checkedPngBytes: 20 * 1024 * 1024,
  /** Samples of a JPEG, of which each costs the decoder 12 bytes: `checkedPixels` with halved colours, half of them without. */
  checkedJpegSamples: 7_077_888,
  /** Passes of a progressive JPEG; encoders use about ten, and each walks over the whole picture. */
  checkedScans: 64,
  /** Share by which a picture's shape may differ from the asked ratio: models round sides to multiples of 16 to 64. */
  aspectRatioTolerance: 0.05,
  /** Levels of 255 within which a channel counts as one colour: the noise of a lossy encoder stays below. */
  blankSpread: 8,
  /** Standard deviation in levels, over all channels, below which a picture shows nothing: five stray pixels in a million. */
  blankDeviation: 1,
  /** A signed artifact URL stays good at least this long, at most twice as long: its expiry is rounded so caches can keep it. */
  artifactUrlMs: 60 * 60 * 1000,

  // ------------------------------------------------------------------------------------- events and subscribers
  ticketMs: 60_000,
  /** Of one key, so that it leaves some to the others; and of all, which are gone through for each new one. */
  ticketsPerKey: 1_000,
  ticketsOpen: 10_000,
  subscribersPerInstance: 10_000,
  /** Events sent to one subscriber in one go while it catches up. */
  replayEvents: 500,
  /** What may wait for a slow reader of a stream before it is dropped: a go of catching up always fits. */
  streamBacklogBytes: 4 * 1024 * 1024,
  /** What a socket is sent while its client says nothing; the platform does not show how much of it is still under way. */
  socketUnheardBytes: 16 * 1024 * 1024,
  /** Events that are sent in one piece: the one that reaches this is the last. It keeps small what a client parses at once. */
  pieceCharacters: 256 * 1024,
  /** Subscribers are told at once, but no oftener than this: then all that came meanwhile, together. */
  broadcastEveryMs: 20,
  /** So long for each who was told last, since it is the sending that costs: tens of microseconds of the thread that keeps the books. */
  broadcastPerSubscriberMs: 3,
  /** And no longer than this, where so many are told: a person still takes it for at once, and few writes are saved beyond. */
  broadcastPauseMaxMs: 500,
  /** Texts for which nobody waits to the end of the moment: a tenth of a second of the thread, on a slow machine. */
  broadcastTexts: 8_192,
  /** Comment that keeps a quiet SSE stream open through proxies. */
  sseKeepAliveMs: 15_000,

  // ------------------------------------------------------------------------------------------- usage and the log
  /** Bins of a sketch of durations: at an error of 1 % they span from 21 ms to ten minutes, or any other ratio of 28,000. */
  sketchBins: 512,
  /** Kinds of tokens in one row of usage; providers tell apart about ten. */
  tokenKinds: 32,
  /** Rows of the present hour that are kept in memory, so that a settlement reads none: about 2 KB each. */
  usageRowsInMemory: 1_000,
  /** Rows of past hours that one transaction adds to their days. */
  usageFoldRows: 256,
  /** Hours older than this are dropped, days never. */
  usageHoursKeepMs: 92 * 24 * 60 * 60 * 1000,
  /** Longest span of one question: as many buckets as a page of figures can show. */
  usageHoursSpanMs: 31 * 24 * 60 * 60 * 1000,
  usageDaysSpanMs: 366 * 24 * 60 * 60 * 1000,
  /** Rows added up for one answer on the actor's only thread: a tenth of a millisecond each where their sketches are full. */
  usageRowsRead: 5_000,
  /** Lines that are no job's event and are kept; the oldest go first. */
  logLines: 20_000,
  /** Lines looked at for one page of a filtered log: a filter that matches little must not scan millions in one turn. */
  logScan: 5_000,
  /** Jobs of one request id whose lines are told, the newest: a batch makes up to a hundred. */
  logJobsPerRequest: 100,

  // -------------------------------------------------------------------------------------------------- retention
  /** Jobs, events, lines of the log and dead letters where the instance says nothing: a month to look back at. */
  retentionDefaultMs: 30 * 24 * 60 * 60 * 1000,
  /** Ten years: longer is a mistake in the unit. */
  retentionMaxSeconds: 10 * 365 * 24 * 60 * 60,
  archiveKeepMs: 365 * 24 * 60 * 60 * 1000,
  /** Rows of each kind deleted in one transaction, whose turn must stay short: a few milliseconds. */
  trimJobs: 128,
  trimEvents: 512,
  trimRows: 256,
  /** Jobs looked at in one step: those that stay are only read. */
  trimLooks: 512,
  /** Groups of the ledger, a day and project each, that one step goes through. */
  trimGroups: 64,
  /** Between full steps: the longest pause, at first, and the shortest, under which thousands of jobs a second are trimmed. */
  trimPauseMaxMs: 200,
  trimPauseMs: 10,
  /** Steps of one wake-up; each shares its transaction with whatever else has come. */
  trimSteps: 4,
  /** Shortest and longest wait until the next look where nothing more was due. */
  trimRestMs: 250,
  trimRestMaxMs: 6 * 60 * 60 * 1000,
  /** A job that is old enough within this is waited for, rather than passed over. */
  trimPatienceMs: 10_000,
  /** After a step that failed, such as the bucket's fault; and how soon one that a crash interrupted is taken up. */
  trimRetryMs: 30_000,
  /** Jobs and characters of one object of the archive, which is read whole to find one of them. */
  archiveJobs: 128,
  archiveCharacters: 1024 * 1024,
  /** Objects of the archive deleted in one step. */
  archivesPerStep: 100,

  // --------------------------------------------------------------------------------------------- administration
  nameCharacters: 64,
  secretCharacters: 8_192,
  keysPerInstance: 1_000,
  credentialsPerProvider: 32,
  urlFieldCharacters: 2_048,
  instancesPerPage: 100,
  /** R2 deletes up to a thousand keys a call. */
  deleteKeysPerStep: 1_000,

  // ---------------------------------------------------------------------------------------------------- prices
  /** Prices of its own that an instance may hold: several times what all lists hold together. */
  pricesPerInstance: 1_000,
  /** Of a million tokens or one unit. The dearest model listed asks 600 USD a million; more is a slip of the decimal point. */
  rateMaxUsd: 10_000,
  /** Ten times the longest context window offered. */
  tierTokensMax: 10_000_000,
  tiersPerPrice: 4,
  imageRatesPerPrice: 64,
  priceSourceCharacters: 256,
} as const
