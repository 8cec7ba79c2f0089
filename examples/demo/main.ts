/**
 * Two scenes in which something goes wrong between an agent and a bank that does not deduplicate, and the bank still
 * books exactly one wire.
 *
 *     npm run demo [-- --via serve] [-- --scene crash-resume] [-- --break observe]
 *
 * Exit code 0 only if every scene's ledger has exactly one wire and its run finished.
 */
import { Command, Options, ValidationError } from "@effect/cli"
import { FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Option } from "effect"
import { play, type Scene, scenes } from "./scene.js"
import { serve } from "./serve.js"
import { isExactlyOne, render } from "./timeline.js"

const scene = Options.choice(
  "scene",
  scenes.map(({ name }) => name)
).pipe(Options.withDescription("Play only this scene (default: all)"), Options.optional)

const via = Options.choice("via", ["embedded", "serve"]).pipe(
  Options.withDescription("Where the tape is: in the agent's process, or in a `tape serve` of its own"),
  Options.withDefault("embedded")
)

const broken = Options.choice("break", ["observe"]).pipe(
  Options.withDescription("Break the step that asks the bank before anything is repeated, to see the demo fail"),
  Options.optional
)

const demo = Command.make("demo", { scene, via, broken }, ({ broken, scene, via }) =>
  Effect.scoped(
    Effect.gen(function* () {
      const chosen = scenes.filter(({ name }) => Option.getOrElse(scene, () => name) === name)
      const fs = yield* FileSystem.FileSystem
      const folder = yield* fs.makeTempDirectoryScoped({ prefix: "tape-demo-" })
      const playOne = (scene: Scene) =>
        Effect.scoped(
          Effect.gen(function* () {
            const store = `sqlite:${folder}/${scene.name}.db`
            const tapeUrl = via === "serve" ? yield* serve(store) : store
            yield* Console.log(`\n${scene.name}: ${scene.story}`)
            const report = yield* play(scene, { folder, tapeUrl, breakObserve: Option.isSome(broken) })
            yield* Effect.forEach(render(report), (line) => Console.log(line))
            return isExactlyOne(report)
          })
        )
      const verdicts = yield* Effect.forEach(chosen, playOne)
      const passed = verdicts.filter(Boolean).length
      yield* Console.log(`\n${passed} of ${verdicts.length} scenes: exactly one wire`)
      if (passed < verdicts.length) process.exitCode = 1
    })
  )
)

const run = Command.run(demo, { name: "Tape demo", version: "0.1.0" })

run(process.argv).pipe(
  // what is wrong with the command line has been said by then
  Effect.catchIf(ValidationError.isValidationError, () =>
    Effect.sync(() => {
      process.exitCode = 2
    })
  ),
  Effect.provide(NodeContext.layer),
  NodeRuntime.runMain
)
