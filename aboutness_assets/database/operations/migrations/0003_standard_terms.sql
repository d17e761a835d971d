-- Columns and words of the field in place of our own; no row changes its meaning.
alter table aboutness_ops.chat_request rename column service to table_id;
alter table aboutness_ops.chat_request rename column spender to budget;
alter table aboutness_ops.chat_request rename column usd_at_most to max_usd_estimate;
alter table aboutness_ops.chat_request drop constraint chat_request_kind_check;
update aboutness_ops.chat_request set kind = 'pack' where kind = 'batch';
alter table aboutness_ops.chat_request add constraint chat_request_kind_check check (kind in ('pack', 'single_song'));
alter table aboutness_ops.failed_song rename column service to table_id;
alter table aboutness_ops.spend rename column spender to budget;
alter table aboutness_ops.old_style_baseline rename column service to table_id;
alter table aboutness_ops.old_style_row rename column service to table_id;
