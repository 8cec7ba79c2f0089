/** Settings from the environment, where unset and empty are the same: nothing was said. */
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Either from "effect/Either"

/** Without the blanks around it; empty when nothing was said. */
export const text = (variable: string): Config.Config<string> =>
  Config.map(Config.withDefault(Config.string(variable), ""), (said) => said.trim())

/** A text that `read` understands, or does not and says what it wants. Where nothing was said, the default. */
export const parsed = <A>(
  variable: string,
  orElse: A,
  read: (said: string) => Either.Either<A, string>
): Config.Config<A> =>
  Config.mapOrFail(text(variable), (said) =>
    said === ""
      ? Either.right(orElse)
      : Either.mapLeft(read(said), (wanted) =>
          ConfigError.InvalidData([variable], `${JSON.stringify(said)} is not ${wanted}`)
        )
  )
