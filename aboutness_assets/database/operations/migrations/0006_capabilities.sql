-- What endpoints were found to take and to refuse (provider/capability_store.py), shared by all processes. A
-- fact counts for a day; the job forget_capabilities removes all of them.
create table aboutness_ops.capability (
  kind        text not null,  -- 'chat' or 'embedding'
  endpoint    text not null,  -- without user, password, query or key
  model       text not null,
  name        text not null,
  value       jsonb not null,
  learned_at  timestamptz not null,
  primary key (kind, endpoint, model, name)
);
