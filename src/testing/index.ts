export * as TestConnector from "./TestConnector.js"
export * as TestTape from "./TestTape.js"
