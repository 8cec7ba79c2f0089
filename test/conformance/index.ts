/** The whole suite, by section. */
import { budget } from "./budget.js"
import { compaction } from "./compaction.js"
import { decisions } from "./decisions.js"
import { effectRulings } from "./effectRulings.js"
import { effects } from "./effects.js"
import { events } from "./events.js"
import { extremes } from "./extremes.js"
import { gates } from "./gates.js"
import { identities } from "./identity.js"
import { leaseModelScenarios } from "./leaseModel.js"
import { limits } from "./limits.js"
import { obligationModel } from "./obligationModel.js"
import { obligationRulings } from "./obligationRulings.js"
import { obligations } from "./obligations.js"
import { outbox } from "./outbox.js"
import { predicates } from "./predicates.js"
import { reactionRulings } from "./reactionRulings.js"
import { reactions } from "./reactions.js"
import { reconciliation } from "./reconciliation.js"
import { requestIds } from "./requestIds.js"
import { runEnds } from "./runEnds.js"
import { runRulings } from "./runRulings.js"
import { runs } from "./runs.js"
import type { Scenario } from "./Scenario.js"
import { sessions } from "./sessions.js"
import { subjects } from "./subjects.js"
import { taskRulings } from "./taskRulings.js"
import { tasks } from "./tasks.js"
import { timerModelScenarios } from "./timerModel.js"
import { timers } from "./timers.js"
import { valueModelScenarios } from "./valueModel.js"
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
  ...predicates,
  ...reactions,
  ...reactionRulings,
  ...tasks,
  ...taskRulings,
  ...values,
  ...watching,
  ...sessions,
  ...compaction,
  ...identities,
  ...requestIds,
  ...leaseModelScenarios,
  ...timerModelScenarios,
  ...valueModelScenarios,
  ...limits,
  ...extremes
]

/** Those that any server must pass. */
export const wire = scenarios.filter((scenario) => scenario.level === "wire")

/** Those of a server that requires scopes. */
export const requiringScope = scenarios.filter((scenario) => scenario.level === "scope")
