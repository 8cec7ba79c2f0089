/**
 * A program's own modules, given by `--load`.
 */
import { resolve } from "node:path"
import { cwd } from "node:process"
import { pathToFileURL } from "node:url"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { TapeClient } from "../Client.js"
import type { AnyApp } from "../durable/types.js"
import type { UndoableTool } from "../reactors/compensators.js"
import { Usage } from "./mistake.js"

/** What the modules bring: connectors and services, tools that know how to check and undo, apps that can be driven. */
export interface Loaded {
  readonly layer: Layer.Layer<never, unknown, TapeClient>
  readonly tools: ReadonlyArray<UndoableTool>
  readonly apps: ReadonlyArray<AnyApp<never>>
}

/** By their paths from the working directory. */
export const load = (paths: ReadonlyArray<string>): Effect.Effect<Loaded, Usage> =>
  Effect.map(Effect.forEach(paths, loadOne), (modules) => ({
    layer: modules.reduce((all, { layer }) => Layer.merge(all, layer), nothing),
    tools: modules.flatMap(({ tools }) => tools),
    apps: modules.flatMap(({ apps }) => apps)
  }))

// ---- internal ----

const nothing: Loaded["layer"] = Layer.empty

const loadOne = Effect.fnUntraced(function* (path: string) {
  const wrong = (reason: string) => new Usage({ message: `cannot load ${path}: ${reason}` })
  const module: unknown = yield* Effect.tryPromise({
    try: () => import(path.startsWith("file:") ? path : pathToFileURL(resolve(cwd(), path)).href),
    catch: (error) => wrong(error instanceof Error ? error.message : String(error))
  })
  const exported = (name: string): unknown =>
    typeof module === "object" && module !== null && name in module ? Reflect.get(module, name) : undefined
  const [layer, tools, apps] = [exported("layer"), exported("tools"), exported("apps")]
  if (layer === undefined && tools === undefined && apps === undefined) {
    return yield* wrong("it exports none of layer, tools and apps")
  }
  if (layer !== undefined && !Layer.isLayer(layer)) return yield* wrong("its layer is no Layer")
  if (!isList(tools, isNamed)) return yield* wrong("its tools are no list of tools")
  if (!isList(apps, isApp)) return yield* wrong("its apps are no list of apps")
  // What a module's parts need cannot be known before they run; a service that is missing then is named by its defect.
  return {
    layer: (layer ?? nothing) as Loaded["layer"],
    tools: (tools ?? []) as Loaded["tools"],
    apps: (apps ?? []) as Loaded["apps"]
  }
})

const isList = (value: unknown, isOne: (value: unknown) => boolean): boolean =>
  value === undefined || (Array.isArray(value) && value.every(isOne))

const isNamed = (value: unknown): boolean =>
  (typeof value === "function" || (typeof value === "object" && value !== null)) &&
  typeof Reflect.get(value, "name") === "string"

const isApp = (value: unknown): boolean => isNamed(value) && typeof Reflect.get(Object(value), "redrive") === "function"
