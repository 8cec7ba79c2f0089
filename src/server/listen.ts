/**
 * Addresses to listen on.
 */
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import type * as Grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import { ListenError } from "./ListenError.js"

interface Target {
  readonly target: string
  /** `undefined` for a unix socket. */
  readonly host: string | undefined
}

export const parse = (listen: string): Effect.Effect<Target, ListenError> => {
  const wrong = (detail: string) =>
    Effect.fail(new ListenError({ reason: "InvalidAddress", listen: JSON.stringify(listen), detail }))
  if (listen.startsWith("unix:")) {
    const path = listen.slice("unix:".length).replace(/^\/\/(?=\/)/, "")
    if (path === "" || path.startsWith("//") || path.endsWith("/")) return wrong("it names no socket file")
    return Buffer.byteLength(path) > maxPathBytes
      ? wrong(`the path of a socket takes at most ${maxPathBytes} bytes`)
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

/**
 * Makes way for a socket: removes the one that a killed server left behind, at which nobody answers. What is no socket
 * is somebody's file, and stays.
 */
export const makeWay = (listen: string, { host, target }: Target): Effect.Effect<void, ListenError> => {
  if (host !== undefined) return Effect.void
  const path = target.slice("unix:".length)
  const wrong = (detail: string) => Effect.fail(new ListenError({ reason: "InvalidAddress", listen, detail }))
  return Effect.try(() => ({ file: statusOf(path), folder: statusOf(Path.dirname(path)) })).pipe(
    // what cannot even be looked at is reported by the attempt to bind
    Effect.orElseSucceed(() => undefined),
    Effect.flatMap((found) => {
      if (found === undefined) return Effect.void
      // the system says "permission denied" of a folder that is not there
      if (found.folder?.isDirectory() !== true) return wrong(`there is no folder ${Path.dirname(path)}`)
      if (found.file === undefined) return Effect.void
      if (!found.file.isSocket()) return wrong("there is a file that is no socket")
      const remove = Effect.ignore(Effect.try(() => Fs.rmSync(path, { force: true })))
      return Effect.flatMap(isDead(path), (dead) => (dead ? remove : Effect.void))
    })
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

// ---- internal ----

// the longest that Linux keeps whole: the rest of a longer one is cut off without a word
const maxPathBytes = 107

const statusOf = (path: string): Fs.Stats | undefined => Fs.statSync(path, { throwIfNoEntry: false })

const isDead = (path: string): Effect.Effect<boolean> =>
  Effect.async((resume) => {
    const socket = Net.connect(path)
    socket.on("connect", () => {
      socket.destroy()
      resume(Effect.succeed(false))
    })
    socket.on("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(error.code === "ECONNREFUSED")))
    return Effect.sync(() => socket.destroy())
  })
