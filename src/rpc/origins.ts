/**
 * Which web pages may call. A browser lets any page open a WebSocket to any address, a tape on this machine included;
 * what it does is say whose page it is.
 */
import type * as Headers from "@effect/platform/Headers"

/** Whether the caller is no web page, a page of this server, or a page of a listed origin. */
export const isWelcome = ({ host, origin }: Headers.Headers, listed: ReadonlyArray<string>): boolean =>
  origin === undefined || listed.includes(origin) || isOwn(origin, host ?? "")

/** The headers by which the browser of a listed page lets it see the answer. */
export const answerTo = (
  { origin }: Headers.Headers,
  listed: ReadonlyArray<string>
): { readonly [name: string]: string } =>
  origin !== undefined && listed.includes(origin) ? { "access-control-allow-origin": origin, vary: "origin" } : {}

// ---- internal ----

/**
 * A page of this server itself. Only where the server is called by its address: under a name, somebody else's DNS could
 * make the page of theirs one of ours.
 */
const isOwn = (origin: string, host: string): boolean =>
  (origin === `http://${host}` || origin === `https://${host}`) && address.test(host)

const address = /^(?:localhost|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-f:.]+\])(?::[0-9]+)?$/i
