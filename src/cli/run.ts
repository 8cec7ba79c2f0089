/**
 * A program as the main of a process: signals interrupt it, its result is the exit code.
 */
import * as Runtime from "@effect/platform/Runtime"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/** SIGINT and SIGTERM interrupt the program, which may take its time to stop; a second one ends the process at once. */
export const runMain = (program: Effect.Effect<number>): void => {
  // What Node has to say of grpc-js (a TLS server name that is an IP address) is nothing to whoever called the command;
  // the types of Node do not know the property.
  Reflect.set(process, "noDeprecation", true)
  main(program, {
    disableErrorReporting: true,
    disablePrettyLogger: true,
    teardown: (exit, onExit) =>
      onExit(
        Exit.isSuccess(exit) ? (typeof exit.value === "number" ? exit.value : 0) : Exit.isInterrupted(exit) ? 0 : 1
      )
  })
}

// ---- internal ----

const main = Runtime.makeRunMain(({ fiber, teardown }) => {
  const stop = () => {
    process.off("SIGINT", stop)
    process.off("SIGTERM", stop)
    fiber.unsafeInterruptAsFork(fiber.id())
  }
  process.on("SIGINT", stop)
  process.on("SIGTERM", stop)
  // exits even where a connection or a timer would keep the process
  fiber.addObserver((exit) => teardown(exit, (code) => process.exit(code)))
})
