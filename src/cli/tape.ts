/**
 * The command line: what it accepts, and what it answers to a mistake.
 */
import { readFileSync } from "node:fs"
import { stripVTControlCharacters } from "node:util"
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import type { Failed } from "./daemon.js"
import * as Environment from "./environment.js"
import * as Flags from "./flags.js"
import { Usage } from "./mistake.js"
import * as Outbox from "./outbox.js"
import * as Reactors from "./reactors.js"
import * as Serve from "./serve.js"

/** Runs the command line; the result is the exit code: 0 done, 1 failed, 2 not understood. Mistakes are one sentence on stderr. */
export const tape = (args: ReadonlyArray<string>): Effect.Effect<number> =>
  Effect.flatMap(plainConsole, (console) => Effect.withConsole(understood(args), console)).pipe(
    Effect.as(0),
    Effect.catchAll((error) =>
      ValidationError.isValidationError(error)
        ? complain(`${sentenceOf(error)} (see tape --help)`, 2)
        : complain(oneLine(error.message), isUsage(error) ? 2 : 1)
    ),
    Effect.catchAllCause((cause) =>
      Cause.isInterruptedOnly(cause)
        ? Effect.succeed(0)
        : Effect.zipRight(
            Effect.logDebug(cause),
            complain(`internal error: ${oneLine(String(Cause.squash(cause)))}`, 1)
          )
    ),
    Effect.provide(Layer.mergeAll(Environment.layer, CliConfig.layer({ showBuiltIns: false }), logsOnStderr))
  )

// ---- internal ----

const command = Command.make("tape").pipe(
  Command.withDescription("A durable journal between AI agents and the world."),
  Command.withSubcommands([Serve.command, Outbox.command, Reactors.command])
)

const version = Schema.decodeSync(Schema.parseJson(Schema.Struct({ version: Schema.String })))(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8")
).version

const run = Command.run(command, { name: "tape", version })

const understood = (args: ReadonlyArray<string>) => {
  const flag = Flags.withoutValue(args)
  return flag === undefined
    ? run(args)
    : Effect.fail(new Usage({ message: `a value is expected after ${flag} (see tape --help)` }))
}

// a bad value of a flag, whoever found it
const isUsage = (error: Serve.Failed | Failed): boolean =>
  error._tag === "Usage" ||
  error._tag === "InvalidUrl" ||
  ("reason" in error && (error.reason === "InvalidUrl" || error.reason === "InvalidAddress"))

const complain = (sentence: string, code: number): Effect.Effect<number> =>
  Effect.as(Console.error(`tape: ${sentence}`), code)

const sentenceOf = (error: ValidationError.ValidationError): string =>
  oneLine(stripVTControlCharacters(HelpDoc.toAnsiText(error.error)))

const oneLine = (text: string): string => text.trim().replace(/\s*\n\s*/g, " ")

// standard output is for what the command says
const logsOnStderr = Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))

// without the parser's own report of mistakes, and without colours where nobody sees them
const plainConsole = Effect.consoleWith((console) =>
  Effect.succeed<Console.Console>({
    ...console,
    error: () => Effect.void,
    log: (...texts) =>
      console.log(
        ...texts.map((text) =>
          typeof text === "string" && process.stdout.isTTY !== true ? stripVTControlCharacters(text) : text
        )
      )
  })
)
