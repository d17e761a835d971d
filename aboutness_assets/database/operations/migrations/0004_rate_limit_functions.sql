-- The shared rate limits of 0002 in the terms of the field, as small functions that a later migration can replace
-- one by one. Behavior is unchanged. docs/design.md, "Pace", explains the whole; times are seconds since the epoch,
-- rates are units per second, limits are units per minute, "rpm" and "tpm" are requests and tokens per minute.
drop function aboutness_ops.reserve(
  text, float8, float8, float8, float8, float8, float8, float8, jsonb);
drop function aboutness_ops.rate_limited(text, float8, float8, float8, float8, float8[]);
drop function aboutness_ops.pace_now(boolean, float8, float8, float8);
drop function aboutness_ops.brake(boolean, float8, float8, float8, float8, float8, float8);

alter table aboutness_ops.rate_limit rename column requests_due to request_tat;
alter table aboutness_ops.rate_limit rename column tokens_due to token_tat;
alter table aboutness_ops.rate_limit rename column last_minute_requests to previous_minute_requests;
alter table aboutness_ops.rate_limit rename column seen_at to observed_at;
alter table aboutness_ops.rate_limit rename column seen_requests to observed_requests;
alter table aboutness_ops.rate_limit rename column seen_tokens to observed_tokens;
alter table aboutness_ops.rate_limit rename column most_requests to max_requests_remaining;
alter table aboutness_ops.rate_limit rename column most_tokens to max_tokens_remaining;
alter table aboutness_ops.rate_limit rename column charge to min_tokens_per_request;
alter table aboutness_ops.rate_limit rename column since_at to sampled_at;
alter table aboutness_ops.rate_limit rename column since_requests to sampled_requests;
alter table aboutness_ops.rate_limit rename column since_remaining to sampled_remaining;
alter table aboutness_ops.rate_limit rename column refills to is_bucket;
alter table aboutness_ops.rate_limit rename column pace to base_rate;
alter table aboutness_ops.rate_limit rename column grown to growth_seconds;
alter table aboutness_ops.rate_limit rename column storm to consecutive_429s;
alter table aboutness_ops.rate_limit rename column emptied_at to last_exhausted_at;
alter table aboutness_ops.rate_limit rename column answered to answered_since_exhausted;

comment on column aboutness_ops.rate_limit.request_tat is
  'theoretical arrival time of GCRA: until when the requests reserved so far use up the limit';
comment on column aboutness_ops.rate_limit.token_tat is 'the same for tokens';
comment on column aboutness_ops.rate_limit.minute is 'number of the minute since the epoch that is being counted';
comment on column aboutness_ops.rate_limit.observed_at is 'when the request was sent whose answer was observed last';
comment on column aboutness_ops.rate_limit.observed_requests is 'requests_reserved up to that request';
comment on column aboutness_ops.rate_limit.observed_tokens is 'tokens_reserved up to that request';
comment on column aboutness_ops.rate_limit.max_requests_remaining is 'the most that ever remained of this limit';
comment on column aboutness_ops.rate_limit.min_tokens_per_request is
  'the fewest tokens that the provider was seen to count for one request';
comment on column aboutness_ops.rate_limit.sampled_at is 'observed_at of the answer that the next sample starts from';
comment on column aboutness_ops.rate_limit.is_bucket is
  'the provider was seen to refill a bucket; until then it may count a sliding minute';
comment on column aboutness_ops.rate_limit.base_rate is 'requests per second from which the rate grows';
comment on column aboutness_ops.rate_limit.growth_seconds is 'seconds for which the rate was needed and has grown';
comment on column aboutness_ops.rate_limit.consecutive_429s is '429s in a row; those of one pause count once';
comment on column aboutness_ops.rate_limit.last_exhausted_at is
  'when the limit was last used up; at first, when counting began';
comment on column aboutness_ops.rate_limit.answered_since_exhausted is 'requests answered since then';

-- What the headers of one answer said; see limits/store.py.
create type aboutness_ops.limit_observation as (
  age float8, requests float8, tokens float8,
  request_limit float8, requests_remaining float8, requests_reset float8,
  token_limit float8, tokens_remaining float8, tokens_reset float8
);

-- What was not used of the limit can be made up for within so long.
create function aboutness_ops.burst_seconds() returns float8 language sql immutable as 'select 1::float8';

-- Requests per second before the first answer tells which limits there are, and at the start of slow start.
create function aboutness_ops.unknown_rate() returns float8 language sql immutable as 'select 4::float8';
create function aboutness_ops.first_rate() returns float8 language sql immutable as 'select 128::float8';

create function aboutness_ops.epoch_seconds() returns float8 language sql volatile as
  'select extract(epoch from clock_timestamp())::float8';

-- The row of this name, locked until the end of the transaction; a new one where there is none.
create function aboutness_ops.lock_limit(p_name text, p_now float8) returns aboutness_ops.rate_limit
language plpgsql as $$
declare
  r aboutness_ops.rate_limit;
  t float8;
begin
  loop
    select * into r from aboutness_ops.rate_limit where name = p_name for update;
    if found then return r; end if;
    t := coalesce(p_now, aboutness_ops.epoch_seconds());
    insert into aboutness_ops.rate_limit
      (name, reserved_at, request_tat, token_tat, base_rate, last_exhausted_at)
      values (p_name, t, t, t, aboutness_ops.first_rate(), t) on conflict do nothing;
  end loop;
end $$;

create function aboutness_ops.save_limit(r aboutness_ops.rate_limit) returns void language plpgsql as $$
begin
  update aboutness_ops.rate_limit set
    reserved_at = r.reserved_at, requests_reserved = r.requests_reserved, tokens_reserved = r.tokens_reserved,
    request_tat = r.request_tat, token_tat = r.token_tat, minute = r.minute, minute_requests = r.minute_requests,
    previous_minute_requests = r.previous_minute_requests, observed_at = r.observed_at,
    observed_requests = r.observed_requests, observed_tokens = r.observed_tokens,
    request_limit = r.request_limit, requests_remaining = r.requests_remaining, requests_reset = r.requests_reset,
    max_requests_remaining = r.max_requests_remaining, token_limit = r.token_limit,
    tokens_remaining = r.tokens_remaining, tokens_reset = r.tokens_reset,
    max_tokens_remaining = r.max_tokens_remaining, min_tokens_per_request = r.min_tokens_per_request,
    sampled_at = r.sampled_at, sampled_requests = r.sampled_requests, sampled_remaining = r.sampled_remaining,
    is_bucket = r.is_bucket, slow_start = r.slow_start, base_rate = r.base_rate,
    growth_seconds = r.growth_seconds, consecutive_429s = r.consecutive_429s, paused_at = r.paused_at,
    paused_until = r.paused_until, last_exhausted_at = r.last_exhausted_at,
    answered_since_exhausted = r.answered_since_exhausted
  where name = r.name;
end $$;

-- What was found out is worth nothing after ten minutes without a request.
create function aboutness_ops.forget_if_idle(r aboutness_ops.rate_limit, t float8) returns aboutness_ops.rate_limit
language plpgsql immutable as $$
begin
  if r.reserved_at < t - 600 then
    r.slow_start := true; r.base_rate := aboutness_ops.first_rate(); r.growth_seconds := 0;
    r.consecutive_429s := 0; r.last_exhausted_at := t; r.answered_since_exhausted := 0;
    r.requests_remaining := null; r.tokens_remaining := null;
  end if;
  return r;
end $$;

-- Requests reserved in the last 60 seconds, as a sliding window counter estimates them; after roll_minute.
create function aboutness_ops.recent_requests(r aboutness_ops.rate_limit, t float8) returns float8
language sql immutable as $$
  select r.minute_requests + r.previous_minute_requests * (1 - (t / 60 - r.minute))
$$;

create function aboutness_ops.roll_minute(r aboutness_ops.rate_limit, t float8) returns aboutness_ops.rate_limit
language plpgsql immutable as $$
begin
  if floor(t / 60) > r.minute then
    r.previous_minute_requests := case when floor(t / 60) = r.minute + 1 then r.minute_requests else 0 end;
    r.minute := floor(t / 60);
    r.minute_requests := 0;
  end if;
  return r;
end $$;

create function aboutness_ops.observe_requests(
  r aboutness_ops.rate_limit, o aboutness_ops.limit_observation, t float8
) returns aboutness_ops.rate_limit language plpgsql immutable as $$
begin
  if o.request_limit is distinct from r.request_limit then r.max_requests_remaining := null; end if;
  r.request_limit := o.request_limit;
  r.requests_remaining := o.requests_remaining;
  r.requests_reset := o.requests_reset;
  r.max_requests_remaining := greatest(r.max_requests_remaining, o.requests_remaining);
  -- At most what we did not use remains of a sliding minute.
  r.is_bucket := r.is_bucket or coalesce(
    o.requests_remaining + aboutness_ops.recent_requests(r, t) > 1.15 * o.request_limit, false);
  return r;
end $$;

create function aboutness_ops.observe_tokens(
  r aboutness_ops.rate_limit, o aboutness_ops.limit_observation
) returns aboutness_ops.rate_limit language plpgsql immutable as $$
begin
  if o.token_limit is distinct from r.token_limit then
    r.max_tokens_remaining := null; r.min_tokens_per_request := null; r.sampled_requests := null;
  end if;
  r.token_limit := o.token_limit;
  r.tokens_remaining := o.tokens_remaining;
  r.tokens_reset := o.tokens_reset;
  r.max_tokens_remaining := greatest(r.max_tokens_remaining, o.tokens_remaining);
  return r;
end $$;

-- How many tokens the provider counts for a request: all that is missing from a full bucket, or what went between
-- two answers that are 20 requests apart. Both overestimate where others share the key or nothing refills.
create function aboutness_ops.sample_tokens(
  r aboutness_ops.rate_limit, o aboutness_ops.limit_observation
) returns aboutness_ops.rate_limit language plpgsql immutable as $$
begin
  r.min_tokens_per_request := least(r.min_tokens_per_request, nullif(o.token_limit - o.tokens_remaining, 0));
  if r.sampled_requests is not null and o.requests < r.sampled_requests + 20 then return r; end if;
  if o.tokens_remaining < 0.9 * o.token_limit then  -- a bucket that is nearly full may have overflowed
    r.min_tokens_per_request := least(r.min_tokens_per_request,
      (r.sampled_remaining - o.tokens_remaining + (r.observed_at - r.sampled_at) * o.token_limit / 60)
      / (o.requests - r.sampled_requests));
  end if;
  r.sampled_at := r.observed_at;
  r.sampled_requests := o.requests;
  r.sampled_remaining := o.tokens_remaining;
  return r;
end $$;

create function aboutness_ops.observe(
  r aboutness_ops.rate_limit, o aboutness_ops.limit_observation, t float8
) returns aboutness_ops.rate_limit language plpgsql immutable as $$
begin
  if t - o.age > r.paused_at then r.consecutive_429s := 0; end if;
  if t - o.age > r.observed_at then
    r.observed_at := t - o.age;
    r.observed_requests := o.requests;
    r.observed_tokens := o.tokens;
    if o.request_limit > 0 then r := aboutness_ops.observe_requests(r, o, t); end if;
    if o.token_limit > 0 then
      r := aboutness_ops.observe_tokens(r, o);
      r := aboutness_ops.sample_tokens(r, o);
    end if;
  end if;
  return r;
end $$;

-- Whether little remaining means that others use the limit too. A sliding minute always has little left when it is
-- used well; then less must be left than we did not use ourselves.
create function aboutness_ops.remaining_is_trusted(r aboutness_ops.rate_limit, t float8) returns boolean
language sql immutable as $$
  select r.is_bucket or coalesce(
    r.requests_remaining + aboutness_ops.recent_requests(r, t) < 0.85 * r.request_limit, r.request_limit is null)
$$;

-- The share of a limit to use, from 0.05 to 1: less than 1 while less remains than is sent in 4 seconds, unless that
-- lasts until the reset. p_used_since: units reserved since the provider said so, p_age seconds ago.
create function aboutness_ops.throttle_factor(
  p_trusted boolean, p_limit float8, p_remaining float8, p_reset float8, p_max_remaining float8,
  p_used_since float8, p_age float8
) returns float8 language sql immutable as $$
  select case
    when not p_trusted or p_limit is null or p_limit <= 0 or p_remaining is null then 1
    when p_remaining >= p_limit / 60 * p_reset then 1
    else greatest(0.05, least(1, (p_remaining - p_used_since + p_age * p_limit / 60)
                                 / greatest(1e-9, least(p_limit / 15, p_max_remaining / 2))))
  end
$$;

-- Additive increase: slow start doubles the rate each second. After the first 429 it grows slowly about the rate
-- that was measured and faster the longer nothing went wrong, as TCP CUBIC does (RFC 9438); sooner where the limit
-- p_rpm is known and only what others use of it is not.
create function aboutness_ops.probing_rate(r aboutness_ops.rate_limit, p_rpm float8) returns float8
language sql immutable as $$
  select least(1e6, r.base_rate * case
    when r.slow_start then power(2, least(r.growth_seconds, 60))
    else 1 + power(r.growth_seconds / case when p_rpm is null then 60 else 20 end, 2)
  end)
$$;

-- Multiplicative decrease: to half of the rate that slow start reached, or to what was answered between two moments
-- at which the limit was used up, if those are enough answers to tell.
create function aboutness_ops.decrease_rate(r aboutness_ops.rate_limit, t float8, p_rpm float8)
returns aboutness_ops.rate_limit language plpgsql immutable as $$
begin
  if r.slow_start then
    r.base_rate := coalesce(0.95 * p_rpm / 60, aboutness_ops.probing_rate(r, p_rpm) / 2);
  elsif r.answered_since_exhausted >= 10 then
    r.base_rate := greatest(0.05, p_rpm / 60 / 4, least(
      p_rpm / 60,
      0.95 * r.answered_since_exhausted / greatest(t - r.last_exhausted_at, 0.1),
      aboutness_ops.probing_rate(r, p_rpm)));
  else
    return r;
  end if;
  r.slow_start := false;
  r.growth_seconds := 0;
  r.last_exhausted_at := t;
  r.answered_since_exhausted := 0;
  return r;
end $$;

create function aboutness_ops.request_rate(r aboutness_ops.rate_limit, t float8, p_rpm float8, p_tpm float8)
returns float8 language sql immutable as $$
  select case
    when p_rpm is null and p_tpm is null and r.observed_at = '-infinity' then aboutness_ops.unknown_rate()
    else least(
      p_rpm / 60 * aboutness_ops.throttle_factor(
        aboutness_ops.remaining_is_trusted(r, t), r.request_limit, r.requests_remaining, r.requests_reset,
        r.max_requests_remaining, r.requests_reserved - r.observed_requests, t - r.observed_at),
      case when p_rpm is null or not r.slow_start then aboutness_ops.probing_rate(r, p_rpm) end)
  end
$$;

create function aboutness_ops.token_rate(r aboutness_ops.rate_limit, t float8, p_tpm float8)
returns float8 language sql immutable as $$
  select p_tpm / 60 * aboutness_ops.throttle_factor(
    aboutness_ops.remaining_is_trusted(r, t), r.token_limit, r.tokens_remaining, r.tokens_reset,
    r.max_tokens_remaining, r.tokens_reserved - r.observed_tokens, t - r.observed_at)
$$;

-- Reserves requests and tokens, after taking in what was learnt since the last call, in one round trip.
--   p_now: null, or the time (tests). p_rpm, p_tpm: configured limits, 0 = none.
--   p_token_correction: tokens used beyond those reserved (negative: fewer). p_answered: requests.
--   p_observation: null, or a limit_observation as an object.
-- The columns of the result are those of limits/store.py's Lease.
create function aboutness_ops.reserve(
  p_name text, p_now float8, p_rpm float8, p_tpm float8, p_requests float8, p_tokens float8,
  p_token_correction float8, p_answered float8, p_observation jsonb,
  out wait float8, out "interval" float8, out pause float8, out limit_known boolean, out request_rate float8,
  out token_rate float8, out requests float8, out tokens float8, out min_tokens_per_request float8
) language plpgsql as $$
declare
  burst constant float8 := aboutness_ops.burst_seconds();
  r aboutness_ops.rate_limit := aboutness_ops.lock_limit(p_name, p_now);
  t constant float8 := coalesce(p_now, aboutness_ops.epoch_seconds());  -- after waiting for the lock
  rpm float8;
  tpm float8;
begin
  r := aboutness_ops.forget_if_idle(r, t);
  r := aboutness_ops.roll_minute(r, t);
  if p_observation is not null then
    r := aboutness_ops.observe(r, jsonb_populate_record(null::aboutness_ops.limit_observation, p_observation), t);
  end if;
  if r.request_tat - t > burst / 2 and t > r.paused_until then  -- the rate was needed
    r.growth_seconds := r.growth_seconds + least(1, greatest(0, t - r.reserved_at));
  end if;

  -- A configured limit may be lower than the account's, never higher.
  rpm := least(nullif(p_rpm, 0), r.request_limit);
  tpm := least(nullif(p_tpm, 0), r.token_limit);
  limit_known := rpm is not null or tpm is not null;
  request_rate := aboutness_ops.request_rate(r, t, rpm, tpm);
  token_rate := aboutness_ops.token_rate(r, t, tpm);

  r.answered_since_exhausted := r.answered_since_exhausted + p_answered;
  r.tokens_reserved := r.tokens_reserved + p_token_correction;
  r.token_tat := r.token_tat + coalesce(p_token_correction / token_rate, 0);

  pause := greatest(0, r.paused_until - t);
  wait := greatest(pause, r.request_tat - burst - t, r.token_tat - burst - t);
  "interval" := greatest(1 / request_rate, p_tokens / nullif(p_requests, 0) / token_rate);
  if p_requests > 0 then
    r.request_tat := greatest(r.request_tat, t + wait) + p_requests / request_rate;
    r.token_tat := greatest(r.token_tat, t + wait) + coalesce(p_tokens / token_rate, 0);
    r.requests_reserved := r.requests_reserved + p_requests;
    r.tokens_reserved := r.tokens_reserved + p_tokens;
    r.minute_requests := r.minute_requests + p_requests;
    r.reserved_at := t;
  end if;
  requests := r.requests_reserved;
  tokens := r.tokens_reserved;
  min_tokens_per_request := r.min_tokens_per_request;
  perform aboutness_ops.save_limit(r);
end $$;

-- How long the n-th 429 in a row pauses: as long as it asks for, else as configured. Where one pause after the
-- other does not help they become longer, doubling from 2 ms up to the last of the configured waits.
create function aboutness_ops.pause_seconds(p_consecutive_429s integer, p_wait float8, p_waits float8[])
returns float8 language sql immutable as $$
  select greatest(
    coalesce(p_wait, p_waits[least(p_consecutive_429s, cardinality(p_waits))]),
    least(power(2, least(p_consecutive_429s, 20)) / 1000, p_waits[cardinality(p_waits)]))
$$;

-- A 429: pauses every request of this name. p_age: seconds since the request was sent. p_wait: seconds that the
-- 429 asks for, null where it names no time; then p_waits, by how many there were in a row.
-- The columns of the result are those of limits/store.py's Pause.
create function aboutness_ops.rate_limited(
  p_name text, p_now float8, p_rpm float8, p_age float8, p_wait float8, p_waits float8[],
  out seconds float8, out added float8, out begins boolean
) language plpgsql as $$
declare
  burst constant float8 := aboutness_ops.burst_seconds();
  r aboutness_ops.rate_limit := aboutness_ops.lock_limit(p_name, p_now);
  t constant float8 := coalesce(p_now, aboutness_ops.epoch_seconds());
  until_before constant float8 := greatest(t, r.paused_until);
begin
  begins := t - p_age > r.paused_at;
  if begins then
    r.consecutive_429s := r.consecutive_429s + 1;
    p_wait := aboutness_ops.pause_seconds(r.consecutive_429s, p_wait, p_waits);
    r := aboutness_ops.decrease_rate(r, t, least(nullif(p_rpm, 0), r.request_limit));
    r.paused_at := t;
  end if;
  r.paused_until := greatest(until_before, t + coalesce(p_wait, 0));
  -- What was not used during a pause is not made up for: no burst follows it.
  r.request_tat := greatest(r.request_tat, r.paused_until + burst);
  r.token_tat := greatest(r.token_tat, r.paused_until + burst);
  seconds := r.paused_until - t;
  added := r.paused_until - until_before;
  perform aboutness_ops.save_limit(r);
end $$;
