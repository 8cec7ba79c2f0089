import { layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Engine } from "effect-tape/engine"
import { transports } from "../support/Harness.js"
import { world } from "./Fixtures.js"
import { leaseModel } from "./leaseModel.js"
import { check, type Model } from "./Model.js"
import { timerModel } from "./timerModel.js"
import { valueModel } from "./valueModel.js"

const sequences = 300

const memory = Layer.provide(transports["in-process"], Engine.layerUrl("memory:"))

/** The models of the suite with many more sequences; OBL-16 adds its 200 on each way to a tape. */
layer(memory, { excludeTestServices: true })(`${sequences} random sequences`, (it) => {
  const agrees = <Command>(what: string, model: Model<Command>) =>
    it.effect(what, () => Effect.flatMap(world, (w) => check(w, model, sequences)), { timeout: 60_000 })

  agrees("leases of a run", leaseModel)
  agrees("values and their watchers", valueModel)
  agrees("timers", timerModel)
})
