import type { Sealing as SealingView } from '../contract/credential.ts'
import type { CredentialSecret } from '../contract/rpc.ts'
import { LIMITS } from '../limits.ts'
import type { AdminStore } from './admin-store.ts'
import type { Books } from './books.ts'
import { type CredentialRow, sealOf } from './credential-store.ts'
import type { Lanes } from './lanes.ts'
import type { Vault } from './vault.ts'

/** The meta key that says which master keys were at hand when every seal was last brought up to date; empty: it is not. */
export const SEALED_WITH = 'sealed_with'

/**
 * Brings every seal up to date: secrets sealed under an older master key are sealed under the first, and lanes are told of
 * what they hold older seals of, after that and after a secret was replaced. In bounded steps beside the actor's work; what
 * a crash interrupts begins again, and changes nothing twice.
 */
export class Sealing {
  readonly #admin: AdminStore
  readonly #books: Books
  readonly #lanes: Lanes
  /** Lanes that are still to be told; null where that is not known yet. */
  #lanesLeft: Set<number> | null = null
  /** Ciphertexts that did not open although their key is at hand. */
  readonly #broken = new Set<string>()

  constructor(admin: AdminStore, books: Books, lanes: Lanes) {
    this.#admin = admin
    this.#books = books
    this.#lanes = lanes
  }

  get isDue(): boolean {
    return this.#admin.meta(SEALED_WITH) !== this.#keysAtHand() || this.#waiting().length > 0
  }

  /** Nothing is sealed yet. */
  found(): void {
    this.#admin.setMeta(SEALED_WITH, this.#keysAtHand())
  }

  /** A secret was replaced: lanes that hold the older one are told, each of them again. */
  replaced(): void {
    this.#lanesLeft = null
  }

  view(): SealingView {
    const rows = this.#rows()
    const resealed = rows.filter((row) => row.key_id === this.#keyId()).length
    const waiting = this.#waiting().length
    const lanesWaiting = this.isDue ? this.#loaded().filter((lane) => this.#lanesLeft?.has(lane) ?? true).length : 0
    return {
      object: 'sealing',
      key_id: this.#keyId(),
      total: rows.length,
      resealed,
      waiting,
      unopenable: rows.length - resealed - waiting,
      lanes_waiting: lanesWaiting,
      complete: !this.isDue,
    }
  }

  /** One step; `apply` runs an operation in a transaction. Answers after how many ms to go on, or null where all is done. */
  async step(vault: Vault, apply: (operation: () => void) => Promise<void>): Promise<number | null> {
    const rows = this.#waiting().slice(0, LIMITS.resealsPerStep)
    if (rows.length > 0) {
      await this.#reseal(rows, vault, apply)
      return 0
    }
    this.#lanesLeft ??= new Set(this.#loaded())
    const left = this.#lanesLeft
    const loaded = new Set(this.#loaded())
    for (const lane of left) if (!loaded.has(lane)) left.delete(lane)
    await this.#renew(left)
    // Replaced meanwhile: what was told is old already.
    if (left !== this.#lanesLeft) return 0
    if (left.size > 0) return LIMITS.renewRetryMs
    await apply(() => {
      if (left === this.#lanesLeft) this.#admin.setMeta(SEALED_WITH, this.#keysAtHand())
    })
    return this.isDue ? 0 : null
  }

  async #reseal(rows: CredentialRow[], vault: Vault, apply: (operation: () => void) => Promise<void>): Promise<void> {
    const fresh = await Promise.all(
      rows.map(async (row) => {
        const identity = this.#books.credentialName(row.provider, row.name)
        const plain = await vault.open(sealOf(row), identity)
        return { row, sealed: plain === null ? null : await vault.seal(plain, identity) }
      }),
    )
    await apply(() => {
      for (const { row, sealed } of fresh) {
        if (sealed) this.#admin.credentials.reseal(row, sealed)
        else this.#broken.add(row.ciphertext)
      }
      this.#books.configure(this.#admin)
    })
    this.#lanesLeft = null
  }

  /** Takes out the lanes that hold nothing older any more. */
  async #renew(left: Set<number>): Promise<void> {
    const secrets: CredentialSecret[] = this.#rows().map((row) => ({
      identity: this.#books.credentialName(row.provider, row.name),
      sealed: sealOf(row),
      secret: row.secret,
    }))
    const lanes = [...left]
    for (let from = 0; from < lanes.length; from += LIMITS.renewsAtOnce) {
      const told = lanes.slice(from, from + LIMITS.renewsAtOnce).map(async (lane) => {
        if ((await this.#lanes.renew(lane, secrets, this.#keyId())) === 0) left.delete(lane)
      })
      await Promise.all(told)
    }
  }

  #rows(): CredentialRow[] {
    return [...this.#books.setups.values()].flatMap(({ credentials, retired }) => [...credentials, ...retired])
  }

  #waiting(): CredentialRow[] {
    return this.#rows().filter(
      (row) => row.key_id !== this.#keyId() && this.#books.keyIds.has(row.key_id) && !this.#broken.has(row.ciphertext),
    )
  }

  #loaded(): number[] {
    return this.#books.lanes.flatMap((load, lane) => (load > 0 ? [lane] : []))
  }

  #keyId(): string {
    const [first = ''] = this.#books.keyIds
    return first
  }

  #keysAtHand(): string {
    return [...this.#books.keyIds].join(',')
  }
}
