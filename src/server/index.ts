export * as GrpcServer from "./GrpcServer.js"
export { ListenError } from "./ListenError.js"
