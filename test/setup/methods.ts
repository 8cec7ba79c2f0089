import { effect, flakyTest, layer, live, prop, scoped, scopedLive } from "@effect/vitest"
import { it } from "vitest"

// `layer` of @effect/vitest puts its methods on vitest's own `it`. Test files share a process here, as loading the
// modules costs more than most tests do: each file gets back what it expects.
Object.assign(it, { effect, flakyTest, layer, live, prop, scoped, scopedLive })
