/** Names of topics. */
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"

/** `projects/p/topics/t` as it is, a bare name within the project; nothing for what is neither. */
export const topicName = (projectId: string, text: string): string | undefined => {
  if (full.test(text)) return text
  return id.test(text) ? `projects/${projectId}/topics/${text}` : undefined
}

/** The topic of an option. */
export const topicOption = (
  option: string,
  projectId: string,
  text: string
): Effect.Effect<string, ConfigError.ConfigError> => {
  const name = topicName(projectId, text)
  return name === undefined
    ? Effect.fail(ConfigError.InvalidData([option], `${JSON.stringify(text)} is not a topic: ${accepted}`))
    : Effect.succeed(name)
}

export const accepted = "projects/<project>/topics/<topic>, or a name of 3 to 255 letters, digits and -_.~+%"

const id = /^[A-Za-z][\w.~+%-]{2,254}$/
const full = /^projects\/[^/\s]+\/topics\/[A-Za-z][\w.~+%-]{2,254}$/
