/** The whole suite, by section. */
import { decisions } from "./decisions.js"
import { effectRulings } from "./effectRulings.js"
import { effects } from "./effects.js"
import { outbox } from "./outbox.js"
import { reconciliation } from "./reconciliation.js"
import { runRulings } from "./runRulings.js"
import { runs } from "./runs.js"
import type { Scenario } from "./Scenario.js"

export const scenarios: ReadonlyArray<Scenario> = [
  ...runs,
  ...runRulings,
  ...decisions,
  ...effects,
  ...effectRulings,
  ...outbox,
  ...reconciliation
]
