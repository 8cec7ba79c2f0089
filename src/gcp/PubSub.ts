/**
 * Google Cloud Pub/Sub: effects, journal entries and reactions as messages.
 *
 * @since 0.1.0
 */
export {
  type BridgeLoopOptions,
  type BridgeOnceOptions,
  type BridgeOptions,
  bridgeOnce,
  layerBridge
} from "./pubsub/bridge.js"
export { layer, PubSubClient } from "./pubsub/client.js"
export { type ConnectorOptions, connector } from "./pubsub/connector.js"
export type { Message } from "./pubsub/message.js"
export { type PublicationOptions, publication } from "./pubsub/publication.js"
export { type SinkOptions, sink } from "./pubsub/sink.js"
