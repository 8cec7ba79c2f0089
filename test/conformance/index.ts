/** The whole suite, by section. */
import { budget } from "./budget.js"
import { compaction } from "./compaction.js"
import { decisions } from "./decisions.js"
import { effectRulings } from "./effectRulings.js"
import { effects } from "./effects.js"
import { events } from "./events.js"
import { extremes } from "./extremes.js"
import { gates } from "./gates.js"
import { notYet } from "./interim.js"
import { limits } from "./limits.js"
import { obligationModel } from "./obligationModel.js"
import { obligationRulings } from "./obligationRulings.js"
import { obligations } from "./obligations.js"
import { outbox } from "./outbox.js"
import { reconciliation } from "./reconciliation.js"
import { runEnds } from "./runEnds.js"
import { runRulings } from "./runRulings.js"
import { runs } from "./runs.js"
import type { Scenario } from "./Scenario.js"
import { sessions } from "./sessions.js"
import { subjects } from "./subjects.js"
import { timers } from "./timers.js"
import { values } from "./values.js"
import { watching } from "./watching.js"

export const scenarios: ReadonlyArray<Scenario> = [
  ...runs,
  ...runRulings,
  ...runEnds,
  ...decisions,
  ...effects,
  ...effectRulings,
  ...outbox,
  ...reconciliation,
  ...obligations,
  ...obligationRulings,
  ...obligationModel,
  ...budget,
  ...gates,
  ...timers,
  ...events,
  ...subjects,
  ...values,
  ...watching,
  ...sessions,
  ...compaction,
  ...limits,
  ...extremes,
  ...notYet
]
