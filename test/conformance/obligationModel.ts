/** OBL-16: random sequences of obligation calls against a small model. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Runtime from "effect/Runtime"
import { type ObligationRecord, ObligationStatus } from "effect-tape/proto"
import type { TapeError } from "./Expect.js"
import { refused } from "./Expect.js"
import type { World } from "./Fixtures.js"
import { type Scenario, scenario } from "./Scenario.js"

const { COMMITTED, COMPENSATED, PENDING, STUCK } = ObligationStatus
const kinds = ["reverse_wire", "release_hold", "tell"] as const
const maxAttempts = 3

type Kind = (typeof kinds)[number]
type Command =
  | { readonly call: "register"; readonly kind: Kind }
  | { readonly call: "claim"; readonly kind: Kind; readonly claimer: string }
  | { readonly call: "resolve"; readonly kind: Kind; readonly status: ObligationStatus }
  | { readonly call: "attempt"; readonly kind: Kind; readonly final: boolean }

/** What the model knows of a row, and what the row must show. */
interface Row {
  readonly seq: bigint
  readonly status: ObligationStatus
  readonly claimedBy: string
  readonly attempts: number
}

const kind = FastCheck.constantFrom(...kinds)

const command: FastCheck.Arbitrary<Command> = FastCheck.oneof(
  { weight: 3, arbitrary: FastCheck.record({ call: FastCheck.constant("register" as const), kind }) },
  {
    weight: 5,
    arbitrary: FastCheck.record({
      call: FastCheck.constant("claim" as const),
      kind,
      claimer: FastCheck.constantFrom("A", "B", "C")
    })
  },
  {
    weight: 2,
    arbitrary: FastCheck.record({
      call: FastCheck.constant("resolve" as const),
      kind,
      status: FastCheck.constantFrom(COMPENSATED, STUCK)
    })
  },
  {
    weight: 3,
    arbitrary: FastCheck.record({ call: FastCheck.constant("attempt" as const), kind, final: FastCheck.boolean() })
  }
)

const settled = (row: Row): boolean => row.status === COMPENSATED || row.status === STUCK

/** The row after the command, by the rules alone; the same object when nothing moves. */
const next = (row: Row, command: Command): Row => {
  switch (command.call) {
    case "register":
      return row
    case "claim":
      return row.status === PENDING ? { ...row, status: COMMITTED, claimedBy: command.claimer } : row
    case "resolve":
      return settled(row) && !(row.status === STUCK && command.status === COMPENSATED)
        ? row
        : { ...row, status: command.status, claimedBy: "" }
    case "attempt": {
      if (settled(row)) return row
      const attempts = row.attempts + 1
      return { ...row, attempts, claimedBy: "", status: command.final || attempts >= maxAttempts ? STUCK : PENDING }
    }
  }
}

const shown = ({ attempts, claimedBy, seq, status }: Row | ObligationRecord): Row => ({
  seq,
  status,
  claimedBy,
  attempts
})

const runSequence = (w: World, name: string, commands: ReadonlyArray<Command>): Effect.Effect<void, TapeError> =>
  Effect.gen(function* () {
    const runId = yield* w.run(name)
    const model = new Map<Kind, Row>()
    let entries = 1n
    for (const command of commands) {
      const before = model.get(command.kind)
      if (before === undefined && command.call !== "register") {
        yield* onMissing(w, runId, command)
        continue
      }
      const row = yield* onTape(w, runId, before?.seq ?? 0n, command, before?.status === PENDING)
      const after =
        before === undefined ? shown({ ...row, status: PENDING, claimedBy: "", attempts: 0 }) : next(before, command)
      if (after !== before) entries += 1n
      model.set(command.kind, after)
      assert.deepEqual(shown(row), after)
      yield* agree(w, runId, model)
    }
    assert.equal((yield* w.getRun(runId)).seqCursor, entries, "each change is one entry, nothing else is")
  })

const onTape = (w: World, runId: string, seq: bigint, command: Command, free: boolean) =>
  Effect.gen(function* () {
    switch (command.call) {
      case "register":
        return yield* w.register(runId, "k", command.kind, { maxAttempts })
      case "claim": {
        const { acquired, obligation } = yield* w.claimObligation(runId, seq, command.claimer)
        assert.equal(acquired, free)
        return obligation ?? assert.fail("a claim on an existing row shows it")
      }
      case "resolve":
        return yield* w.resolve(runId, seq, command.status)
      case "attempt":
        return yield* w.attemptObligation(runId, seq, "e", command.final ? 0n : 1n)
    }
  })

const onMissing = (w: World, runId: string, command: Exclude<Command, { readonly call: "register" }>) => {
  switch (command.call) {
    case "claim":
      return Effect.map(w.claimObligation(runId, 999n, command.claimer), ({ acquired }) =>
        assert.equal(acquired, false)
      )
    case "resolve":
      return refused(w.resolve(runId, 999n, command.status), "NotFound")
    case "attempt":
      return refused(w.attemptObligation(runId, 999n, "e", 0n), "NotFound")
  }
}

const agree = (w: World, runId: string, model: ReadonlyMap<Kind, Row>) =>
  Effect.gen(function* () {
    const expected = [...model.values()].toSorted((a, b) => Number(b.seq - a.seq))
    assert.deepEqual((yield* w.obligations(runId)).map(shown), expected)
    const unresolved = yield* w.obligations(runId, { onlyUnresolved: true })
    assert.deepEqual(
      unresolved.map(shown),
      expected.filter((row) => !settled(row))
    )
    for (const row of expected) {
      assert.equal(row.claimedBy !== "", row.status === COMMITTED, "a claim has a name, and nothing else has")
    }
  })

export const obligationModel: ReadonlyArray<Scenario> = [
  scenario("OBL-16", "P1", "200 random sequences agree with the model", function* (w) {
    const runtime = yield* Effect.runtime()
    let sequences = 0
    const property = FastCheck.asyncProperty(FastCheck.array(command, { maxLength: 16 }), (commands) =>
      Runtime.runPromise(runtime)(runSequence(w, `sequence-${sequences++}`, commands))
    )
    yield* Effect.promise(() => FastCheck.assert(property, { numRuns: 200 }))
  })
]
