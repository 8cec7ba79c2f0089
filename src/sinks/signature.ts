/** Signatures as the Standard Webhooks specification says: symmetric, version 1. */
import { createHmac } from "node:crypto"
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"

export type Sign = (id: string, seconds: number, body: string) => string

const prefix = "whsec_"

/** A signer with all of the secrets: while one replaces the other, receivers may hold either. */
export const signer = (secrets: ReadonlyArray<Redacted.Redacted>): Effect.Effect<Sign, ConfigError.ConfigError> =>
  Effect.map(Effect.forEach(secrets, keyOf), (keys) => (id, seconds, body) => {
    const signed = `${id}.${seconds}.${body}`
    return keys.map((key) => `v1,${createHmac("sha256", key).update(signed).digest("base64")}`).join(" ")
  })

const keyOf = (secret: Redacted.Redacted): Effect.Effect<Buffer, ConfigError.ConfigError> => {
  const text = Redacted.value(secret)
  const encoded = text.startsWith(prefix) ? text.slice(prefix.length) : text
  const key = Buffer.from(encoded, "base64")
  // Node reads base64 leniently: what does not come back the same was something else.
  const isBase64 = key.toString("base64").replace(/=+$/, "") === encoded.replace(/=+$/, "")
  return isBase64 && key.length > 0
    ? Effect.succeed(key)
    : Effect.fail(ConfigError.InvalidData(["secret"], `the webhook's secret is not ${prefix}<base64>`))
}
