/** What is left of a limit that a client runs into: `RateLimit` of the IETF draft. Times in seconds. */
export type Quota = { name: string; limit: number; windowS: number | null; left: number; resetS: number | null }
