export * as Client from "./Client.js"
export { TapeClient } from "./Client.js"
export * as Errors from "./Errors.js"
export * as Handlers from "./Handlers.js"
