-- A failure counts as an attempt of its song only once the provider has been judged: not while it may be the
-- provider's own.
alter table aboutness_ops.failed_song add column counted_in text;
comment on column aboutness_ops.failed_song.counted_in is 'the run that was last counted as an attempt';
