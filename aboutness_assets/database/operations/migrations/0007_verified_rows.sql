-- One record of the old-style rows per table, the first: it is kept when ABOUTNESS_ROLLOUT_AT moves.
delete from aboutness_ops.old_style_baseline as later using aboutness_ops.old_style_baseline as earlier
where later.table_id = earlier.table_id
  and (later.recorded_at, later.rollout_at) > (earlier.recorded_at, earlier.rollout_at);
alter table aboutness_ops.old_style_row drop constraint old_style_row_service_rollout_at_fkey;
alter table aboutness_ops.old_style_row drop constraint old_style_row_pkey;
alter table aboutness_ops.old_style_row drop column rollout_at;
alter table aboutness_ops.old_style_row add primary key (table_id, song_id);
alter table aboutness_ops.old_style_baseline drop constraint old_style_baseline_pkey;
alter table aboutness_ops.old_style_baseline add primary key (table_id);
alter table aboutness_ops.old_style_row add foreign key (table_id)
  references aboutness_ops.old_style_baseline on update cascade on delete cascade;

-- Ranges that a run may have written to since the checks last looked at them. A run adds its ranges before it
-- writes; the checks remove them when no run holds them and they have been looked at. '' is the whole table.
create table aboutness_ops.unverified_range (
  table_id  text not null,
  range_key text not null,
  marked_at timestamptz not null default clock_timestamp(),
  primary key (table_id, range_key)
);

-- The last look at the whole table. What it found, corrected by every later look at some rows, is in violation.
create table aboutness_ops.whole_look (
  table_id  text primary key,
  criteria  text not null,              -- a hash of what was demanded: other demands need another look
  looked_at timestamptz not null default clock_timestamp(),
  row_count bigint not null
);
create table aboutness_ops.violation (
  table_id  text not null,
  violation text not null,              -- an asset check, or what is wrong with an old-style row
  song_id   text not null,
  primary key (table_id, violation, song_id)
);

-- How many songs each range has and how many of them have a row, counted. '' is what lies in no range.
create table aboutness_ops.range_coverage (
  table_id       text not null,
  range_key      text not null,
  songs_query    text not null,         -- a hash of ABOUTNESS_SONGS_QUERY
  songs          bigint not null,
  songs_with_row bigint not null,
  counted_at     timestamptz not null default clock_timestamp(),
  primary key (table_id, range_key)
);
