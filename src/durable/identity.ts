/**
 * Whom a run is begun for.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Identity from "../Identity.js"
import * as Tenancy from "../Tenancy.js"
import type { AppIdentity, RunIds } from "./types.js"

/** The identity of a new run, as the tape keeps it: what `start` says, else the app, else the process. */
export const identityOf = (ids: RunIds, app: AppIdentity = {}) =>
  Effect.gen(function* () {
    const process = yield* Identity.Current
    const tenancy = yield* Effect.serviceOption(Tenancy.Current)
    const tenant = Option.match(tenancy, { onNone: () => "", onSome: ({ tenantId }) => tenantId })
    const run = ids.identity ?? {}
    return {
      tenantId: run.tenantId ?? app.tenantId ?? (process.tenantId || tenant),
      actor: run.actor ?? app.actor ?? process.actor,
      subject: run.subject ?? app.subject ?? process.subject,
      agentId: run.agentId ?? app.agentId ?? process.agentId,
      aiplexInstanceId: run.instance ?? app.instance ?? process.instance,
      gatewayRoute: run.route ?? app.route ?? process.route,
      // What is granted is said in one place; a list is never widened by another.
      scopes: [...(ids.scopes ?? app.scopes ?? process.scopes)],
      labels: { ...process.labels, ...app.labels, ...ids.labels }
    }
  })
