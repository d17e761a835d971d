-- How far backfills are: one truth over all their runs. A backfill is one of Dagster's, or a single run.

-- What was counted once, and when the last observation of backfill_progress was made. Each run that fills updates its own
-- row of filling_run every few seconds; what all of them did is the sum.
create table aboutness_ops.backfill (
  table_id           text not null,
  backfill_id        text not null,
  begun_at           timestamptz not null default clock_timestamp(),
  counting_run       text,                 -- the run that counts or has counted the songs
  counted_at         timestamptz,          -- null: the five counts are not known yet
  ranges             integer,
  songs              bigint,               -- of these ranges
  songs_with_row     bigint,
  catalogue_songs    bigint,
  catalogue_with_row bigint,
  count_seconds      float8,               -- how long it took
  written_before     bigint,               -- when it was counted: rows that the backfill's runs had written,
  all_written_before bigint,               -- and those that all runs on the table had
  last_observed_at   timestamptz,
  observations       integer not null default 0,
  primary key (table_id, backfill_id)
);

create table aboutness_ops.filling_run (
  table_id         text not null,
  run_id           text not null,
  backfill_id      text not null,
  begun_at         timestamptz not null default clock_timestamp(),
  updated_at       timestamptz not null default clock_timestamp(),
  ended_at         timestamptz,            -- null: it runs, or was killed; updated_at tells when it was last heard of
  outcome          text check (outcome in ('done', 'failed', 'canceled')),
  range_keys       text[] not null,
  ranges_done      integer not null default 0,
  songs_written    bigint not null default 0,
  usd              float8,                 -- billed; null where a price is unknown
  uncertain_usd    float8 not null default 0,
  songs_per_second float8 not null default 0,
  is_settled       boolean not null default false,
  limited_by       text,
  primary key (table_id, run_id)
);
create index filling_run_of_backfill on aboutness_ops.filling_run (table_id, backfill_id);
