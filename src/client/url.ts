/**
 * Where a tape is, as text.
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { withoutPassword } from "../internal/withoutPassword.js"

/**
 * A tape URL that cannot be used, and why. The message shows the accepted forms.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidUrl extends Schema.TaggedError<InvalidUrl>("effect-tape/Client/InvalidUrl")("InvalidUrl", {
  /**
   * `"Syntax"`: not a tape URL. `"NotRemote"`: an embedded engine's URL where a server's is needed, `"NotEmbedded"`: the
   * other way round. `"NotWeb"`: not the URL of a WebSocket or of HTTP, where one is needed. `"TokenOnPlaintext"`: a
   * bearer token would travel unencrypted. `"Tls"`: the certificates given cannot be used, or the URL has no TLS.
   */
  reason: Schema.Literal("Syntax", "NotRemote", "NotEmbedded", "NotWeb", "TokenOnPlaintext", "Tls"),
  /** The URL, without its password. */
  url: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    const forms = this.reason === "Syntax" || this.reason === "NotRemote" ? `. Accepted: ${acceptedForms}` : ""
    return `cannot use the tape URL ${JSON.stringify(this.url)}: ${this.detail}${forms}`
  }
}

/**
 * A tape URL, understood: a server to reach by gRPC, or a store for an embedded engine.
 *
 * @since 0.1.0
 * @category models
 */
export type TapeUrl =
  | {
      readonly _tag: "Server"
      readonly url: string
      /** What gRPC dials: `host:port`, `[::1]:7878`, `unix:/path`. */
      readonly target: string
      readonly tls: boolean
    }
  | { readonly _tag: "Embedded"; readonly url: string }

/**
 * Understands a tape URL, strictly: `tape://` and `grpc://` (port 7878 unless given), `tapes://` and `grpcs://` (TLS, port
 * 443 unless given), `unix:path`; and of an embedded engine `sqlite:path`, `memory:`, `postgres://…`, `postgresql://…`.
 *
 * @example
 * import { Client } from "effect-tape"
 *
 * Client.parseUrl("tapes://tape.example") // Right({ _tag: "Server", target: "tape.example:443", tls: true, … })
 * Client.parseUrl("https://tape.example") // Left(InvalidUrl)
 *
 * @since 0.1.0
 * @category constructors
 */
export const parseUrl = (url: string): Either.Either<TapeUrl, InvalidUrl> => {
  const wrong = (detail: string) => Either.left(new InvalidUrl({ reason: "Syntax", url: withoutPassword(url), detail }))
  if (url === "") return wrong("it is empty")
  if (hasControl(url) || url.trim() !== url) return wrong("it has control characters, or blanks around it")
  const colon = url.indexOf(":")
  const scheme = colon < 0 ? "" : url.slice(0, colon)
  const rest = url.slice(colon + 1)
  switch (scheme) {
    case "tape":
    case "grpc":
      return authority(url, rest, false, "7878")
    case "tapes":
    case "grpcs":
      return authority(url, rest, true, "443")
    case "unix": {
      const path = rest.startsWith("//") ? rest.slice(2) : rest
      if (path === "" || path.endsWith("/")) return wrong("it names no socket file")
      if (rest.startsWith("//") && !path.startsWith("/")) return wrong("unix:// needs an absolute path")
      return Either.right({ _tag: "Server", url, target: `unix:${path}`, tls: false })
    }
    case "sqlite":
      if (rest === "" || rest.endsWith("/")) return wrong("it names no file")
      if (rest.startsWith("//"))
        return wrong("a SQLite URL has no host: write sqlite:/absolute/path or sqlite:./relative")
      if (rest === ":memory:") return wrong("write memory: for a store that is not kept")
      return Either.right({ _tag: "Embedded", url })
    case "memory":
      return rest === "" ? Either.right({ _tag: "Embedded", url }) : wrong("nothing may follow memory:")
    case "postgres":
    case "postgresql":
      return rest.startsWith("//") && URL.canParse(url)
        ? Either.right({ _tag: "Embedded", url })
        : wrong("it is not a PostgreSQL URL")
    default:
      return wrong(
        /^[a-z0-9+.-]+:\/\//i.test(url) ? `${scheme}:// is not a scheme of tapes` : "it has no scheme of tapes"
      )
  }
}

// ---- internal ----

const acceptedForms =
  "tape://host[:port], tapes://host[:port] (TLS), grpc:// and grpcs:// likewise, unix:path, sqlite:path, memory:, postgres://user@host/database"

const authority = (url: string, rest: string, tls: boolean, defaultPort: string) => {
  const wrong = (detail: string) => Either.left(new InvalidUrl({ reason: "Syntax", url: withoutPassword(url), detail }))
  if (!rest.startsWith("//")) return wrong("two slashes must follow the scheme")
  const text = rest.slice(2)
  if (text.includes("@")) return wrong("it names a user: give a token as an option instead")
  if (!text.startsWith("[") && /:.*:/.test(text)) return wrong("an IPv6 address must be in brackets")
  const parts = /^(\[[0-9A-Fa-f:.]+\]|[^:/?#[\]\s]*)(?::(.*))?$/.exec(text)
  if (parts === null) {
    return wrong(/[/?#]/.test(text) ? "nothing may follow the host and port" : "it is not host or host:port")
  }
  const [, host = "", port = defaultPort] = parts
  if (host === "") return wrong("it names no host")
  if (host.startsWith("[") ? !URL.canParse(`http://${host}`) : !hostName.test(host)) {
    return wrong(`${JSON.stringify(host)} is not a host name or address`)
  }
  if (/[/?#]/.test(port)) return wrong("nothing may follow the host and port")
  if (!/^[0-9]{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535) {
    return wrong(`${JSON.stringify(port)} is not a port`)
  }
  const server: TapeUrl = { _tag: "Server", url, target: `${host}:${Number(port)}`, tls }
  return Either.right(server)
}

const hostName =
  /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$/

const hasControl = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x20 || code === 0x7f) return true
  }
  return false
}
