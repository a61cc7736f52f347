/**
 * The ids of a conversation's calls as one provider takes them, each another. A conversation may have come from anywhere:
 * servers that count anew in every answer repeat theirs (`call_0`), and others write them longer or in other letters.
 */
export type CallIds = {
  /** A message of the assistant begins: results that follow answer its calls, not those before. */
  turn(): void
  /** The id of the next call. */
  called(id: string): string
  /** The id of the call that a result answers; one of its own where there is none, which the provider refuses. */
  answered(id: string): string
}

/** `write` says an id as the provider takes it; a number is put behind it where that is another's already. */
export const createCallIds = (write: (id: string) => string): CallIds => {
  const given = new Set<string>()
  const counts = new Map<string, number>()
  /** By id as it came: those of the present turn, the unanswered in their order and the last answered. */
  let open = new Map<string, string[]>()
  const give = (id: string): string => {
    const plain = write(id)
    let unique = plain
    let count = counts.get(plain) ?? 1
    while (given.has(unique)) {
      count += 1
      unique = `${plain}_${count}`
    }
    counts.set(plain, count)
    given.add(unique)
    return unique
  }
  return {
    turn: () => {
      open = new Map()
    },
    called: (id) => {
      const unique = give(id)
      const others = open.get(id)
      if (others) others.push(unique)
      else open.set(id, [unique])
      return unique
    },
    answered: (id) => {
      const calls = open.get(id)
      const [first] = calls ?? []
      // The last one stays: a result that comes twice is the provider's to refuse.
      if (calls && calls.length > 1) calls.shift()
      return first ?? write(id)
    },
  }
}
