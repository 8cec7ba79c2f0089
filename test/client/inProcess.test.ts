import { Effect } from "effect"
import * as Client from "../../src/Client.js"
import { behaviour } from "./behaviour.js"
import { fakeTape } from "./fake.js"

behaviour("in-process", (handlers, options) => Effect.succeed(Client.fromHandlers(fakeTape(handlers), options)))
