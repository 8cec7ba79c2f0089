/**
 * Where a tape is kept: transactions, consistent reads, and the tail of the journal.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { StoreError } from "../StoreError.js"
import type { Tail } from "./Tail.js"
import type { Reader, Transaction } from "./Transaction.js"

/**
 * A consistent state of the store, and how far its journal reaches.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot extends Reader {
  /** The greatest global_seq. */
  readonly head: Effect.Effect<bigint, StoreError>
}

/**
 * How the store keeps its promises, as the database itself says.
 *
 * @since 0.1.0
 * @category models
 */
export interface Durability {
  readonly journalMode: string
  /** SQLite's numbers: 0 off, 1 normal, 2 full. */
  readonly synchronous: number
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Store extends Context.Tag("effect-tape/engine/Store")<
  Store,
  {
    readonly url: string
    /** Whether another process may write to it, too. */
    readonly isShared: boolean
    /**
     * Applies a call in a transaction, together with whatever else is waiting, and answers once it is durable. A call
     * that is interrupted before its turn is not applied.
     */
    readonly write: <A, E>(call: (tx: Transaction) => Effect.Effect<A, E>) => Effect.Effect<A, E | StoreError>
    /** Reads one consistent state; never waits for writers. */
    readonly read: <A, E>(body: (snapshot: Snapshot) => Effect.Effect<A, E>) => Effect.Effect<A, E | StoreError>
    /** The clock by which leases are judged, in milliseconds since the epoch. */
    readonly nowMs: Effect.Effect<bigint>
    readonly tail: Tail
    /** Read from the live connection that writes. */
    readonly durability: Effect.Effect<Durability, StoreError>
  }
>() {}
