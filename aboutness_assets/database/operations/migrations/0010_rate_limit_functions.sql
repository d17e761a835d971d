-- How a rate is found out where no header states the limit, and the two calls, with places in line; see 0009.

-- Slow start doubles the rate each second. Then, where the limit p_rpm is known, it grows slowly about the rate that
-- was measured and faster the longer nothing went wrong, as TCP CUBIC does (RFC 9438). Where it is not, the measured
-- rate is held, and grows ever faster afterward, to find out whether there is more now.
create or replace function aboutness_ops.probing_rate(r aboutness_ops.rate_limit, p_rpm float8) returns float8
language sql immutable as $$
  select least(1e6, r.base_rate * case
    when r.slow_start then power(2, least(r.growth_seconds, 60))
    when p_rpm is not null then 1 + power(r.growth_seconds / 20, 2)
    else case when r.hold_seconds > 0 then aboutness_ops.margin() else 1 end
      * power(2, least(60, power(greatest(0, r.growth_seconds - r.hold_seconds) / 40, 2)))
  end)
$$;

-- Measures a limit that no header states, at the second 429 and later ones. p_in_minute: requests let pass in the
-- minute before the 429; p_since: since the one before it, p_seconds ago.
create function aboutness_ops.measure_rate(
  r aboutness_ops.rate_limit, p_in_minute float8, p_since float8, p_seconds float8
) returns aboutness_ops.rate_limit language plpgsql immutable as $$
declare
  probing constant float8 := aboutness_ops.probing_rate(r, null);
  grew constant boolean := r.hold_seconds > 0 and r.growth_seconds >= r.hold_seconds;
  paused constant float8 := r.paused_until - r.paused_at;
  measured float8;
  longest float8;
begin
  if grew and p_in_minute / 60 > 1.5 * r.steady_rate then  -- the limit is another one now
    r.lowest_minute := p_in_minute; r.is_window := false;
  end if;
  r.lowest_minute := least(r.lowest_minute, p_in_minute);
  -- A sliding minute lets nothing pass right after a pause, and never more than in a minute at whose end it refused.
  r.is_window := (r.is_window or paused >= 1 and p_since <= 0.5 * p_in_minute * paused / 60)
    and p_in_minute <= 1.08 * r.lowest_minute + 0.9;
  if grew and not r.is_window then  -- what a bucket had saved was sent too: the next 429 tells
    r.base_rate := least(probing, 2 * r.steady_rate);
    return r;
  end if;
  measured := greatest(1 / 60::float8, case
    when r.is_window then p_in_minute / 60
    when case when paused < 1 then p_since >= 10 else p_seconds - paused > 5 end then least(p_in_minute / 60, (p_since + 1) / p_seconds)
    -- A small bucket is empty as soon as the rate is too high.
    else least(0.7 * probing, case when r.hold_seconds = 0 then p_in_minute / 60 end)
  end);
  longest := greatest(900, 150 / measured);  -- so that fewer than 1 % are refused
  if r.hold_seconds > 0 and measured > 0.75 * r.steady_rate and measured < 1.35 * r.steady_rate then
    if not r.is_window then measured := (measured + r.steady_rate) / 2; end if;
    r.hold_seconds := least(4 * r.hold_seconds, longest);
  elsif (case when p_since >= 1 then p_since else p_in_minute end) < 30 then
    r.hold_seconds := 30;
  else
    r.hold_seconds := case when r.is_window or p_seconds > 150 then longest else 300 end;
  end if;
  r.base_rate := measured;
  r.steady_rate := measured;
  return r;
end $$;

-- Multiplicative decrease after a 429 to a request sent at p_at, until when p_sent were let pass, ever.
create function aboutness_ops.decrease_rate(r aboutness_ops.rate_limit, p_at float8, p_sent float8, p_rpm float8)
returns aboutness_ops.rate_limit language plpgsql immutable as $$
declare
  since constant float8 := p_sent - r.exhausted_requests;
  seconds constant float8 := greatest(0.1, p_at - r.last_exhausted_at);
  in_minute constant float8 := aboutness_ops.sent_in_minute(r.sent_at, r.sent_requests, p_at, p_sent);
begin
  if not r.slow_start and p_at < r.last_exhausted_at + 0.5 then return r; end if;  -- sent before others knew
  if r.slow_start then
    r.lowest_minute := in_minute;
    r.base_rate := greatest(1 / 60::float8, coalesce(
      0.95 * p_rpm / 60, least(aboutness_ops.probing_rate(r, p_rpm) / 2, since / seconds)));
  elsif p_rpm is null then
    r := aboutness_ops.measure_rate(r, in_minute, since, seconds);
  elsif since >= 10 then
    r.base_rate := greatest(p_rpm / 60 / 4, least(
      p_rpm / 60, 0.95 * since / seconds, aboutness_ops.probing_rate(r, p_rpm)));
  else
    return r;
  end if;
  r.slow_start := false;
  r.growth_seconds := 0;
  r.last_exhausted_at := p_at;
  r.exhausted_requests := p_sent;
  return r;
end $$;

-- What waits beyond the burst takes as long as it does at the new rate.
create function aboutness_ops.reprice(p_tat float8, p_start float8, p_old_rate float8, p_new_rate float8)
returns float8 language sql immutable as $$
  select p_tat + coalesce(
    greatest(0, p_tat - p_start - aboutness_ops.burst_seconds()) * (p_old_rate / p_new_rate - 1), 0)
$$;

-- Reserves requests and tokens, after taking in what was learnt since the last call, in one round trip.
--   p_now: null, or the time (tests). p_rpm, p_tpm: configured limits, 0 = none.
--   p_place_requests, p_place_tokens: null, or what all had reserved ahead of these requests, which were reserved before;
--   then nothing is reserved again.
--   p_token_correction: tokens used beyond those reserved (negative: fewer).
--   p_observation: null, or a limit_observation as an object.
-- The columns of the result are those of limits/store.py's Lease.
create function aboutness_ops.reserve(
  p_name text, p_now float8, p_rpm float8, p_tpm float8, p_requests float8, p_tokens float8,
  p_place_requests float8, p_place_tokens float8, p_token_correction float8, p_observation jsonb,
  out wait float8, out "interval" float8, out pause float8, out limit_known boolean, out request_rate float8,
  out token_rate float8, out requests float8, out tokens float8, out min_tokens_per_request float8
) language plpgsql as $$
declare
  burst constant float8 := aboutness_ops.burst_seconds();
  r aboutness_ops.rate_limit := aboutness_ops.lock_limit(p_name, p_now);
  t constant float8 := coalesce(p_now, aboutness_ops.epoch_seconds());  -- after waiting for the lock
  starts constant float8 := greatest(t, r.paused_until);
  rpm float8;
  tpm float8;
begin
  r := aboutness_ops.forget_if_idle(r, t);
  if p_observation is not null then
    r := aboutness_ops.observe(r, jsonb_populate_record(null::aboutness_ops.limit_observation, p_observation), t);
  end if;
  if r.request_tat - t > burst / 2 and t > r.paused_until then  -- the rate was needed
    r.growth_seconds := r.growth_seconds + least(5, greatest(0, t - greatest(r.reserved_at, r.paused_until)));
  end if;

  -- A configured limit may be lower than the account's, never higher.
  rpm := least(nullif(p_rpm, 0), r.request_limit);
  tpm := least(nullif(p_tpm, 0), r.token_limit);
  limit_known := rpm is not null or tpm is not null;
  request_rate := aboutness_ops.request_rate(r, t, rpm, tpm);
  token_rate := aboutness_ops.token_rate(r, t, tpm);
  r.request_tat := aboutness_ops.reprice(r.request_tat, starts, r.request_rate, request_rate);
  r.token_tat := aboutness_ops.reprice(r.token_tat, starts, r.token_rate, token_rate);
  r.request_rate := request_rate;
  r.token_rate := token_rate;
  r.tokens_reserved := r.tokens_reserved + p_token_correction;
  r.token_tat := r.token_tat + coalesce(p_token_correction / token_rate, 0);

  pause := greatest(0, r.paused_until - t);
  wait := greatest(
    pause,
    r.request_tat - coalesce((r.requests_reserved - p_place_requests) / request_rate, 0) - burst - t,
    case when token_rate is not null then
      r.token_tat - coalesce((r.tokens_reserved - p_place_tokens) / token_rate, 0) - burst - t end);
  "interval" := greatest(1 / request_rate, p_tokens / nullif(p_requests, 0) / token_rate);
  if p_requests > 0 then r.reserved_at := t; end if;
  if p_requests > 0 and p_place_requests is null then
    r.request_tat := greatest(r.request_tat, t) + p_requests / request_rate;
    if token_rate is not null then r.token_tat := greatest(r.token_tat, t) + p_tokens / token_rate; end if;
    r.requests_reserved := r.requests_reserved + p_requests;
    r.tokens_reserved := r.tokens_reserved + p_tokens;
  end if;
  requests := r.requests_reserved;
  tokens := r.tokens_reserved;
  min_tokens_per_request := r.min_tokens_per_request;
  perform aboutness_ops.save_limit(r);
end $$;

-- A 429: pauses every request of this name. p_age: seconds since the request was sent. p_requests: reserved by all up
-- to and including it. p_wait: seconds that the 429 asks for, null where it names no time; then p_waits, by how many
-- there were in a row. What is reserved and not sent keeps its place in line.
-- The columns of the result are those of limits/store.py's Pause.
create function aboutness_ops.rate_limited(
  p_name text, p_now float8, p_rpm float8, p_age float8, p_requests float8, p_wait float8, p_waits float8[],
  out seconds float8, out added float8, out begins boolean
) language plpgsql as $$
declare
  burst constant float8 := aboutness_ops.burst_seconds();
  r aboutness_ops.rate_limit := aboutness_ops.lock_limit(p_name, p_now);
  t constant float8 := coalesce(p_now, aboutness_ops.epoch_seconds());
  until_before constant float8 := greatest(t, r.paused_until);
begin
  begins := t - p_age > r.paused_at and t - p_age >= r.paused_until;
  if begins then
    r.consecutive_429s := r.consecutive_429s + 1;
    p_wait := aboutness_ops.pause_seconds(r.consecutive_429s, p_wait, p_waits);
    r := aboutness_ops.decrease_rate(
      r, t - p_age,
      greatest(p_requests - 1 - r.refused_requests, r.exhausted_requests, r.sent_requests[cardinality(r.sent_at)]),
      least(nullif(p_rpm, 0), r.request_limit));
    r.paused_at := t;
  end if;
  r.refused_requests := r.refused_requests + 1;
  r.paused_until := greatest(until_before, t + coalesce(p_wait, 0));
  -- What was not used during a pause is not made up for: no burst follows it.
  -- What follows the request that was sent last need not wait for that one's share after the pause.
  r.request_tat := r.paused_until + burst + greatest(0, r.request_tat - until_before - burst
    - case when until_before = t then coalesce(1 / r.request_rate, 0) else 0 end);
  r.token_tat := r.paused_until + burst + greatest(0, r.token_tat - until_before - burst);
  seconds := r.paused_until - t;
  added := r.paused_until - until_before;
  perform aboutness_ops.save_limit(r);
end $$;
