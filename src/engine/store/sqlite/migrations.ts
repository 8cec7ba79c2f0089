/**
 * The schema of a SQLite tape, forward only: a step is never changed once it has been released.
 */
export const migrations: ReadonlyArray<string> = [
  `
  create table runs (
    run_id text not null primary key,
    app_name text not null,
    user_id text not null,
    session_id text not null,
    invocation_id text not null,
    status integer not null,
    seq_cursor integer not null,
    lease_owner text not null,
    lease_expires_at_ms integer not null,
    started_at_ms integer not null,
    ended_at_ms integer not null,
    waiting_on_gate text not null,
    tenant_id text not null,
    actor text not null,
    subject text not null,
    agent_id text not null,
    aiplex_instance_id text not null,
    gateway_route text not null,
    scopes_json text not null,
    labels_json text not null,
    detail_json text not null,
    compacted_at_ms integer not null
  ) strict;
  create unique index runs_by_invocation on runs (app_name, user_id, session_id, invocation_id);
  create index runs_by_status on runs (status, lease_expires_at_ms);
  create index runs_by_session on runs (app_name, user_id, session_id, started_at_ms);

  create table journal (
    global_seq integer not null primary key,
    run_id text not null,
    seq integer not null,
    kind text not null,
    subject text not null,
    payload_json text not null,
    ts_ms integer not null,
    schema_version integer not null,
    trace_id text not null,
    span_id text not null,
    parent_span_id text not null
  ) strict;
  create unique index journal_by_run on journal (run_id, seq);
  create index journal_by_time on journal (ts_ms);

  create table decisions (
    run_id text not null,
    decision_index integer not null,
    seq integer not null,
    model text not null,
    request_json text not null,
    response_json text not null,
    rationale text not null,
    policy_version text not null,
    ts_ms integer not null,
    primary key (run_id, decision_index)
  ) strict;

  create table effects (
    run_id text not null,
    idempotency_key text not null,
    seq integer not null,
    decision_index integer not null,
    tool_name text not null,
    status integer not null,
    request_json text not null,
    response_json text not null,
    error_json text not null,
    ts_ms integer not null,
    semantics integer not null,
    dispatch_mode integer not null,
    business_key text not null,
    connector text not null,
    dispatch_attempts integer not null,
    next_dispatch_at_ms integer not null,
    external_ref text not null,
    dispatch_claimed_by text not null,
    dispatch_claim_expires_at_ms integer not null,
    last_dispatch_error text not null,
    scope text not null,
    primary key (run_id, idempotency_key)
  ) strict;
  create unique index effects_by_business_key on effects (connector, business_key)
    where connector <> '' and business_key <> '';
  create index effects_pending on effects (ts_ms) where status = 1;
  create index effects_unknown on effects (ts_ms) where status = 4;
  create index effects_due on effects (next_dispatch_at_ms, ts_ms) where status = 1 and dispatch_mode = 2;
  create index effects_due_by_connector on effects (connector, next_dispatch_at_ms, ts_ms)
    where status = 1 and dispatch_mode = 2;

  create table effect_aliases (
    run_id text not null,
    idempotency_key text not null,
    owner_run_id text not null,
    primary key (run_id, idempotency_key)
  ) strict, without rowid;

  create table obligations (
    run_id text not null,
    seq integer not null,
    effect_key text not null,
    kind text not null,
    payload_json text not null,
    status integer not null,
    ts_ms integer not null,
    compensator_ref text not null,
    attempts integer not null,
    max_attempts integer not null,
    next_attempt_at_ms integer not null,
    last_error text not null,
    claimed_by text not null,
    claim_expires_at_ms integer not null,
    result_json text not null,
    primary key (run_id, seq)
  ) strict;
  create unique index obligations_by_cause on obligations (run_id, effect_key, kind);
  create index obligations_due on obligations (status, next_attempt_at_ms, ts_ms);
  create index obligations_claimed on obligations (claim_expires_at_ms) where status = 2;

  create table budgets (
    run_id text not null primary key,
    usd_cap real not null,
    token_cap integer not null,
    usd_spent real not null,
    tokens_spent integer not null
  ) strict;

  create table gates (
    run_id text not null,
    gate_name text not null,
    context_json text not null,
    resolution_json text not null,
    delivered integer not null,
    consumed integer not null,
    created_at_ms integer not null,
    primary key (run_id, gate_name)
  ) strict;

  create table timers (
    run_id text not null,
    timer_id text not null,
    fire_at_ms integer not null,
    kind text not null,
    payload_json text not null,
    fired integer not null,
    created_at_ms integer not null,
    primary key (run_id, timer_id)
  ) strict;
  create index timers_due on timers (fire_at_ms) where fired = 0;

  create table counters (name text not null primary key, value integer not null) strict, without rowid;
  insert into counters (name, value) values ('global_seq', 0), ('unowned_seq', 0);
  `,
  `
  create table value_records (
    namespace text not null,
    key text not null,
    value_json text not null,
    version integer not null,
    ts_ms integer not null,
    writer text not null,
    deleted integer not null,
    primary key (namespace, key)
  ) strict;
  create table value_versions (
    namespace text not null,
    key text not null,
    version integer not null,
    seq integer not null,
    writer text not null,
    primary key (namespace, key, version)
  ) strict, without rowid;

  create table sessions (
    app_name text not null,
    user_id text not null,
    session_id text not null,
    state_json text not null,
    last_update_time_ms integer not null,
    events_id text not null,
    event_count integer not null,
    primary key (app_name, user_id, session_id)
  ) strict;
  create index sessions_by_user on sessions (app_name, user_id, last_update_time_ms);
  create index sessions_by_update on sessions (last_update_time_ms);
  create table session_events (
    events_id text not null,
    ord integer not null,
    id text not null,
    invocation_id text not null,
    author text not null,
    branch text not null,
    content_json text not null,
    actions_json text not null,
    timestamp_ms integer not null,
    primary key (events_id, ord)
  ) strict;
  create unique index session_events_by_id on session_events (events_id, id) where id <> '';
  create table discarded_events (
    events_id text not null primary key,
    discarded_at_ms integer not null
  ) strict, without rowid;

  create table request_ids (
    rpc text not null,
    request_id text not null,
    digest text not null,
    response text not null,
    created_at_ms integer not null,
    primary key (rpc, request_id)
  ) strict;
  create index request_ids_by_age on request_ids (created_at_ms);

  create index runs_compactable on runs (ended_at_ms) where compacted_at_ms = 0 and ended_at_ms > 0;
  `
]
