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
  `,
  `
  alter table runs add column retention integer not null default 0;
  create index runs_prunable on runs (ended_at_ms, run_id) where status + 0 in (4, 5, 7, 8) and retention < 4;
  create index runs_snapshotted on runs (run_id) where retention = 1;

  create table effect_snapshots (
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

  create table pruned_business_keys (
    connector text not null,
    business_key text not null,
    status integer not null,
    run_id text not null,
    idempotency_key text not null,
    seq integer not null,
    primary key (connector, business_key)
  ) strict;

  create index timers_fired on timers (fire_at_ms) where fired = 1;
  create index sessions_idle on sessions (last_update_time_ms, events_id);
  drop index sessions_by_update;
  `,
  `
  create table reactions (
    reaction_id text not null primary key,
    name text not null,
    subject_pattern text not null,
    predicate_cel text not null,
    handler_kind integer not null,
    agent_app text not null,
    publish_target text not null,
    max_concurrency integer not null,
    rate_limit_per_s integer not null,
    debounce_ms integer not null,
    retry_max integer not null,
    retry_backoff_ms integer not null,
    dlq_after_n integer not null,
    num_shards integer not null,
    created_at_ms integer not null,
    deleted integer not null,
    revision integer not null,
    matched_up_to integer not null
  ) strict;
  create index reactions_active on reactions (created_at_ms, reaction_id) where deleted = 0;
  insert into counters (name, value) values ('reactions', 0);

  create table tasks (
    task_id text not null primary key,
    reaction_id text not null,
    shard integer not null,
    first_global_seq integer not null,
    source_run_id text not null,
    source_global_seq integer not null,
    subject text not null,
    payload_json text not null,
    status integer not null,
    attempts integer not null,
    next_attempt_at_ms integer not null,
    lease_owner text not null,
    lease_expires_at_ms integer not null,
    last_error text not null,
    created_at_ms integer not null,
    trace_id text not null,
    parent_span_id text not null,
    finished_by text not null
  ) strict;
  create unique index tasks_by_source on tasks (reaction_id, first_global_seq);
  create index tasks_by_status on tasks (reaction_id, status, first_global_seq);
  create index tasks_pending on tasks (reaction_id, next_attempt_at_ms, source_global_seq) where status = 1;
  create index tasks_pending_in_shard on tasks (reaction_id, shard, next_attempt_at_ms, source_global_seq)
    where status = 1;
  create index tasks_pending_by_subject on tasks (reaction_id, subject, created_at_ms) where status = 1;
  create index tasks_leased on tasks (reaction_id, lease_expires_at_ms) where status = 2;
  create index tasks_leased_in_shard on tasks (reaction_id, shard, lease_expires_at_ms) where status = 2;
  `,
  `
  alter table tasks add column finished_at_ms integer not null default 0;
  create index tasks_done on tasks (finished_at_ms) where status = 3;
  `,
  `
  drop index tasks_pending_by_subject;
  create index tasks_pending_by_subject on tasks (reaction_id, substr(subject, 1, 256), created_at_ms) where status = 1;
  create index runs_to_forget on runs (ended_at_ms, run_id)
    where status + 0 in (4, 5, 7, 8) and retention + 0 in (1, 3, 5, 7);
  `
]
