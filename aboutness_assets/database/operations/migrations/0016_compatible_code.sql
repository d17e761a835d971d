-- While an installation is upgraded, code of two versions works on one schema: runs of the old one go on while the
-- new one has migrated. compatible_since is the oldest version of the schema whose code works on this one as well.
-- A migration that code of the version before it cannot live with sets it to its own number.
alter table aboutness_ops.schema_version add column compatible_since integer not null default 16;
