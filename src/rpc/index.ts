export * as Client from "../client/service.js"
export { TapeClient } from "../client/service.js"
export * as Errors from "../Errors.js"
export * as Rpc from "./Rpc.js"
