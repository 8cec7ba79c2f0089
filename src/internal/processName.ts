import { hostname } from "node:os"
// oxlint-disable-next-line no-restricted-imports -- the pid tells people which process holds a claim
import { pid } from "node:process"
import * as Effect from "effect/Effect"
import { text } from "./config.js"

/**
 * The name of this process for what it holds: what `variable` says, else `host:pid`, made {@link unique}. A name from the
 * environment is often the same for all replicas, and two of one name would take each other's claims for their own.
 */
export const processName = (variable: string): Effect.Effect<string> =>
  // A name is only for people to read: an environment that cannot be read is no reason not to work.
  Effect.map(
    Effect.orElseSucceed(text(variable), () => ""),
    (said) => unique(said === "" ? `${hostname() || "unknown"}:${pid}` : said)
  )

/** Not by the Random service: where that has a seed, every process would have the same part. */
export const unique = (name: string): string => `${name}:${crypto.randomUUID().slice(0, 13)}`
