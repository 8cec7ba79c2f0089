/**
 * Addresses to listen on.
 */
import * as Fs from "node:fs"
import * as Net from "node:net"
import type * as Grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import { ListenError } from "./ListenError.js"

export interface Target {
  readonly target: string
  /** `undefined` for a unix socket. */
  readonly host: string | undefined
}

export const parse = (listen: string): Effect.Effect<Target, ListenError> => {
  const wrong = (detail: string) =>
    Effect.fail(new ListenError({ reason: "InvalidAddress", listen: JSON.stringify(listen), detail }))
  if (listen.startsWith("unix:")) {
    const path = listen.slice("unix:".length).replace(/^\/\/(?=\/)/, "")
    return path === "" || path.startsWith("//") || path.endsWith("/")
      ? wrong("it names no socket file")
      : Effect.succeed({ target: `unix:${path}`, host: undefined })
  }
  const parts = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})$/.exec(listen)
  if (parts === null || Number(parts[2]) > 65_535) return wrong("it is neither host:port nor unix:path")
  const [, host = ""] = parts
  if (host.startsWith("[") && !Net.isIPv6(host.slice(1, -1))) return wrong(`${host} is not an IPv6 address`)
  return Effect.succeed({ target: `${host}:${Number(parts[2])}`, host })
}

/** Binds the server, and gives the real port. */
export const bind = (
  server: Grpc.Server,
  listen: string,
  target: Target,
  credentials: Grpc.ServerCredentials
): Effect.Effect<number, ListenError> =>
  Effect.async((resume) => {
    const failed = (cause: unknown) => resume(Effect.fail(refused(listen, String(cause))))
    try {
      server.bindAsync(target.target, credentials, (error, port) =>
        error === null ? resume(Effect.succeed(port)) : failed(error.message)
      )
    } catch (cause) {
      failed(cause)
    }
  })

/** Removes the socket file that a killed server left behind: one that nobody answers at. */
export const clearStaleSocket = ({ host, target }: Target): Effect.Effect<void> => {
  if (host !== undefined) return Effect.void
  const path = target.slice("unix:".length)
  return Effect.async<boolean>((resume) => {
    const socket = Net.connect(path)
    socket.on("connect", () => {
      socket.destroy()
      resume(Effect.succeed(false))
    })
    socket.on("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(error.code === "ECONNREFUSED")))
    return Effect.sync(() => socket.destroy())
  }).pipe(
    Effect.flatMap((stale) => (stale ? Effect.sync(() => Fs.rmSync(path, { force: true })) : Effect.void)),
    // what cannot be removed is reported by the attempt to bind
    Effect.catchAllDefect(() => Effect.void)
  )
}

/** Why an address could not be had, from the sentence that Node or grpc-js says it in. */
export const refused = (listen: string, text: string): ListenError => {
  if (text.includes("EADDRINUSE")) {
    return new ListenError({ reason: "InUse", listen, detail: "the address is already in use" })
  }
  if (text.includes("EACCES") || text.includes("EPERM")) {
    return new ListenError({ reason: "NotPermitted", listen, detail: "permission denied" })
  }
  if (text.includes("EADDRNOTAVAIL") || text.includes("ENOTFOUND") || text.includes("Name resolution")) {
    return new ListenError({ reason: "InvalidAddress", listen, detail: "this machine has no such address" })
  }
  return new ListenError({ reason: "Unavailable", listen, detail: text })
}
