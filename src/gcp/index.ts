export * as CloudTasks from "./CloudTasks.js"
export { Code, GoogleError, MissingDependency, SetupFailed } from "./errors.js"
export type { GoogleOptions, Observe } from "./options.js"
export * as PubSub from "./PubSub.js"
