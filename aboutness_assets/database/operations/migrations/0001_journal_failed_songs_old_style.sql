-- Our own schema, in our own database: what this project must remember between runs.
-- Applied once, under a lock, by operations.py; a later version goes into a file of its own.
create schema if not exists aboutness_ops;

create table aboutness_ops.schema_version (version integer not null);
insert into aboutness_ops.schema_version values (1);

-- The journal: the intent of every chat request before it is sent, its answer before it is read.
--   asked (answered_at is null) -> answered -> settled (every song that it serves has its row)
-- What is answered and not settled was paid for and is used first by the next run, at no cost.
create table aboutness_ops.chat_request (
  request_id        bigint generated always as identity primary key,
  service           text not null,        -- which song_aboutness: database, schema and oid of the table
  spender           text not null,        -- Dagster's backfill id, or the run id where there is no backfill
  run_id            text not null,
  range_key         text not null,        -- partition key, or the name of the job that runs over no range
  kind              text not null check (kind in ('batch', 'single_song')),
  song_ids          text[] not null,      -- in the order of the keys "1", "2", … of the request
  songs             jsonb not null,       -- [[title, artist], …], so that an answer can be read again later
  model             text not null,
  prompt_hash       text not null,
  usd_at_most       numeric,              -- null where the model's price is unknown
  asked_at          timestamptz not null default clock_timestamp(),
  answered_at       timestamptz,
  answer            bytea,                -- the response body, as it came
  prompt_tokens     integer,
  cached_tokens     integer,
  completion_tokens integer,
  usd               numeric,
  settled_at        timestamptz,
  outcome           text check (outcome in ('used', 'no_answer', 'indeterminate'))
);
create index chat_request_open on aboutness_ops.chat_request (service, range_key) where settled_at is null;
create index chat_request_settled_at on aboutness_ops.chat_request (settled_at) where settled_at is not null;

-- Songs that were left without a row, until they have one.
create table aboutness_ops.failed_song (
  service         text not null,
  song_id         text not null,
  cause           text not null,
  reason          text not null,
  attempts        integer not null,       -- runs in which it failed by its own fault; an outage burns none
  quarantined     boolean not null,       -- not paid for again until released
  request_ids     bigint[] not null,      -- the answers that failed it, for a better parser to read again
  range_key       text not null,
  run_id          text not null,
  first_failed_at timestamptz not null default clock_timestamp(),
  last_failed_at  timestamptz not null default clock_timestamp(),
  primary key (service, song_id)
);

-- What each backfill may spend and has spent; reserved before a request, settled with the real usage.
create table aboutness_ops.spend (
  spender text primary key,
  usd     numeric not null default 0
);

-- The old-style rows as they were when this project first saw them.
create table aboutness_ops.old_style_baseline (
  service     text not null,
  rollout_at  timestamptz not null,
  columns     text[] not null,
  recorded_at timestamptz not null default clock_timestamp(),
  primary key (service, rollout_at)
);
create table aboutness_ops.old_style_row (
  service    text not null,
  rollout_at timestamptz not null,
  song_id    text not null,
  digest     bytea not null,
  primary key (service, rollout_at, song_id),
  foreign key (service, rollout_at) references aboutness_ops.old_style_baseline on delete cascade
);
