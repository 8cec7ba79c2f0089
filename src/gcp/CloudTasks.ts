/**
 * Google Cloud Tasks: effects as tasks of a queue, which makes their HTTP requests.
 *
 * @since 0.1.0
 */
export { CloudTasksClient, type HttpTask, layer, type TaskToken } from "./tasks/client.js"
export { type ConnectorOptions, connector } from "./tasks/connector.js"
