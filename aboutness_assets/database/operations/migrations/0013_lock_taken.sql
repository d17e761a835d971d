-- How often each lock was taken by a run for itself alone. A run that lost the session of its locks, and holds them
-- again, sees here whether another had one of them meanwhile.
create table aboutness_ops.lock_taken (
  name  text primary key,
  times bigint not null
);
