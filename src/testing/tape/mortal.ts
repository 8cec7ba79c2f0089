import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { TapeClient } from "../../Client.js"
import type { TapeError } from "../../Errors.js"

type Service = TapeClient["Type"]

/**
 * Where a life ends: right before a call is sent, or right after the tape has done what it asks.
 *
 * @since 0.1.0
 * @category models
 */
export interface Death {
  readonly at: "before" | "after"
  /** One call, or whichever of several comes first. Any unary call when left out. */
  readonly call?: keyof Service | ReadonlyArray<keyof Service> | undefined
  /** Which of those calls, 1 for the first. Defaults to 1. */
  readonly nth?: number | undefined
  /** Only calls with such a request count. Defaults to all. */
  readonly where?: ((request: object) => boolean) | undefined
}

/** A death that strikes once: whichever process comes to its call. */
export class Doom {
  private calls = 0
  private isStruck = false
  /** Who has died of it. */
  by: Process | undefined

  constructor(private readonly death: Death) {}

  get at(): Death["at"] {
    return this.death.at
  }

  strikes(call: string, request: object): boolean {
    const { call: given, nth = 1, where } = this.death
    const isMeant =
      given === undefined || (typeof given === "string" ? given === call : given.some((one) => one === call))
    if (this.isStruck || !isMeant || where?.(request) === false) return false
    this.calls += 1
    this.isStruck = this.calls === nth
    return this.isStruck
  }

  get words(): string {
    const { at, call } = this.death
    return `${at} ${typeof call === "object" ? call.join(" or ") : (call ?? "a call")}`
  }
}

/** The deaths that are to come, for all processes of a tape: the first that nobody has died of is next. */
export class Fate {
  constructor(public dooms: ReadonlyArray<Doom> = []) {}

  get next(): Doom | undefined {
    return this.dooms.find(({ by }) => by === undefined)
  }
}

/** The program itself, or what works beside it: dispatcher and reactors. */
export type Process = "program" | "daemons"

/** What a process has of the tape. */
export interface Mortal {
  readonly client: Service
  readonly isDead: () => boolean
  /** As SIGKILL does: from now on the tape hears nothing of it, nor it of the tape. */
  readonly die: Effect.Effect<void>
  readonly died: Effect.Effect<void>
}

/** A client in whose hands its process dies. */
export const mortal = (tape: Service, process: Process, fate: Fate): Effect.Effect<Mortal> =>
  Effect.map(Deferred.make<void>(), (died) => {
    let isDead = false
    const die = Effect.sync(() => {
      isDead = true
      Deferred.unsafeDone(died, Effect.void)
    })
    const around: Around = (name, request, call) =>
      Effect.suspend(() => {
        if (isDead) return silence
        const doom = fate.next
        if (doom === undefined || !doom.strikes(name, request)) {
          return Effect.flatMap(call, (answer) => (isDead ? silence : Effect.succeed(answer)))
        }
        const dies = Effect.suspend(() => {
          doom.by = process
          return Effect.zipRight(die, silence)
        })
        return doom.at === "after" ? Effect.zipRight(Effect.ignore(call), dies) : dies
      })
    return { client: wrapped(tape, around, () => isDead), isDead: () => isDead, die, died: Deferred.await(died) }
  })

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

type Around = (
  name: string,
  request: object,
  call: Effect.Effect<unknown, TapeError>
) => Effect.Effect<unknown, TapeError>

const silence = Effect.interruptible(Effect.never)

/** Every unary call goes through `around`; streams end in silence. */
const wrapped = (tape: Service, around: Around, isDead: () => boolean): Service =>
  new Proxy(tape, {
    get: (target, name) => {
      const method: unknown = Reflect.get(target, name)
      if (typeof method !== "function" || typeof name !== "string") return method
      return (request: object, options?: object): unknown => {
        // What a method of the client gives is an effect of one answer or a stream of them.
        const answer = Reflect.apply(method, target, [request, options]) as
          | Effect.Effect<unknown, TapeError>
          | Stream.Stream<unknown, TapeError>
        return Effect.isEffect(answer)
          ? around(name, request, answer as Effect.Effect<unknown, TapeError>)
          : Stream.mapEffect(answer as Stream.Stream<unknown, TapeError>, (entry) =>
              isDead() ? silence : Effect.succeed(entry)
            )
      }
    }
  })
