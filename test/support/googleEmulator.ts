/** Google's own Pub/Sub emulator, where this machine has one. */
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import { Cause, Effect, Schedule, type Scope } from "effect"

const folder = "/usr/lib/google-cloud-sdk/platform/pubsub-emulator/lib"

const jar = Fs.existsSync(folder)
  ? Fs.readdirSync(folder).find((file) => /^cloud-pubsub-emulator-.*-all\.jar$/.test(file))
  : undefined

const hasJava = (process.env["PATH"] ?? "").split(Path.delimiter).some((path) => Fs.existsSync(Path.join(path, "java")))

/** Whether this machine can run it. */
export const isInstalled = jar !== undefined && hasJava

/** Its address, for as long as the scope lasts. It is up in about two seconds. */
export const emulator: Effect.Effect<string, never, Scope.Scope> = Effect.gen(function* () {
  const port = yield* freePort
  yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn(
        "java",
        // Up fast rather than fast later.
        ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"].concat([
          "-jar",
          Path.join(folder, jar ?? ""),
          "--host=127.0.0.1",
          `--port=${port}`
        ]),
        { stdio: "ignore" }
      )
    ),
    (java) => Effect.sync(() => java.kill("SIGKILL"))
  )
  yield* Effect.retry(connects(port), Schedule.spaced("50 millis")).pipe(
    Effect.timeoutFailCause({ duration: "20 seconds", onTimeout: () => Cause.die("the emulator does not start") })
  )
  return `127.0.0.1:${port}`
}).pipe(Effect.orDie)

const freePort = Effect.async<number>((resume) => {
  const server = Net.createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() =>
      resume(
        address !== null && typeof address === "object"
          ? Effect.succeed(address.port)
          : Effect.dieMessage("no port is free")
      )
    )
  })
})

const connects = (port: number) =>
  Effect.async<void, Error>((resume) => {
    const socket = Net.connect(port, "127.0.0.1")
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.void)
    })
    socket.once("error", (error) => resume(Effect.fail(error)))
  })
