/**
 * Where journal entries go beside the tape: sinks, and relays that bring them there in order, at least once.
 *
 * @since 0.1.0
 */
export type { Cursor, CursorStore } from "./sinks/cursor.js"
export { type CursorFileOptions, cursorFile } from "./sinks/cursorFile.js"
export { cursorValue } from "./sinks/cursorValue.js"
export { Entry, eventIdOf } from "./sinks/entry.js"
export { CursorError, Rejected, SinkError, Undelivered } from "./sinks/errors.js"
export { layerFanOut, type OpenContext, type OpenError } from "./sinks/fanOut.js"
export { type LogOptions, log } from "./sinks/log.js"
export { layerRelay, relayOnce } from "./sinks/relay.js"
export { Relayed, type RelayLoopOptions, type RelayOptions } from "./sinks/relayOptions.js"
export { fromFunction, make, type Publish, type Sink, type SinkOptions } from "./sinks/sink.js"
export { type WebhookOptions, webhook } from "./sinks/webhook.js"
