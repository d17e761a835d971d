-- The reasoning effort that a chat request asked for: answers of one effort do not tell what another one's cost.
alter table aboutness_ops.chat_request add column reasoning_effort text;  -- null: asked before this was recorded

drop function aboutness_ops.open_chat_request(
  bigint, bigint, text, text, text, text, text, text[], jsonb, text, text, text, numeric, numeric, numeric);

-- As in 0005, with the reasoning effort.
create function aboutness_ops.open_chat_request(
  p_attempt_id bigint, p_request_id bigint, p_table_id text, p_budget text, p_run_id text, p_range_key text,
  p_kind text, p_song_ids text[], p_songs jsonb, p_prompt_hash text, p_reasoning_effort text, p_model text,
  p_tier text, p_max_usd numeric, p_promised_usd numeric, p_cap numeric
) returns boolean language plpgsql as $$
begin
  if not aboutness_ops.open_attempt(p_attempt_id, p_request_id, p_table_id, p_budget, p_run_id, p_range_key,
                                    'chat', p_model, p_tier, p_max_usd, p_promised_usd, p_cap) then
    return false;
  end if;
  insert into aboutness_ops.chat_request
    (request_id, table_id, budget, run_id, range_key, kind, song_ids, songs, model, prompt_hash,
     reasoning_effort, promised_usd)
  values (p_request_id, p_table_id, p_budget, p_run_id, p_range_key, p_kind, p_song_ids, p_songs, p_model,
          p_prompt_hash, p_reasoning_effort, p_promised_usd)
  on conflict do nothing;
  return true;
end $$;
