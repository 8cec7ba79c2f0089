import { Effect, Layer, Option, Schema } from "effect"
import { Connectors, Durable, Live, Outbox, Reactors } from "effect-tape"

const SendMail = Outbox.tool("send_mail", {
  connector: "mail",
  semantics: "non_idempotent",
  input: Schema.Struct({ to: Schema.String, text: Schema.String }),
  output: Schema.Struct({ messageId: Schema.String }),
  businessKey: ({ text, to }) => `${to}: ${text}`, // the same mail is sent once, whichever runs ask for it
  statusCheck: () => Effect.succeed(Option.none()) // look into the mail server's own records
})

const Remind = Durable.app("remind", {
  input: Schema.String,
  output: Schema.String,
  tools: [SendMail],
  *run(to) {
    const mail = yield* SendMail({ to, text: "Your invoice is due." })
    // Recorded, and on its way. What else there is to do goes here.
    const { messageId } = yield* mail.await
    return messageId
  }
})

const Mail = Connectors.make("mail", {
  dispatch: ({ idempotencyKey }) => Effect.succeed({ _tag: "confirmed", response: { messageId: idempotencyKey } })
})

const Main = Layer.mergeAll(
  Outbox.layer({ tools: [SendMail], onOutcome: (outcome) => Effect.log(Outbox.describe(outcome)) }),
  Reactors.layerReconcile({ tools: [SendMail] })
).pipe(Layer.provide(Mail), Layer.provideMerge(Live.layerUrl("memory:")))

Remind.start({ user: "u1", session: "s1", invocation: "inv-42" }, "ann@example.org").pipe(
  Effect.tap((messageId) => Effect.log("sent", messageId)),
  Effect.provide(Main),
  Effect.runFork
)
