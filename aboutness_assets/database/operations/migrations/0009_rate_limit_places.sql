-- Reservations have a place in line instead of a fixed time: those that wait are priced again at the rate of now. What
-- was sent in the last minute is kept exactly. Without headers the limit is measured once and then held.
-- docs/design.md, "Rate limits", explains the whole; units are those of 0004.
alter table aboutness_ops.rate_limit
  drop column minute, drop column minute_requests, drop column previous_minute_requests,
  drop column answered_since_exhausted,
  add request_rate float8, add token_rate float8,
  add refused_requests float8 not null default 0,
  add sent_at float8[], add sent_requests float8[], add sent_tokens float8[],
  add exhausted_requests float8 not null default 0,
  add lowest_minute float8 not null default 'infinity',
  add is_window boolean not null default false,
  add steady_rate float8 not null default 'infinity',
  add hold_seconds float8 not null default 0;
update aboutness_ops.rate_limit set
  sent_at = array[reserved_at], sent_requests = array[requests_reserved], sent_tokens = array[tokens_reserved],
  exhausted_requests = requests_reserved;

comment on column aboutness_ops.rate_limit.request_rate is 'at which the waiting part of request_tat is priced';
comment on column aboutness_ops.rate_limit.token_rate is 'the same for tokens';
comment on column aboutness_ops.rate_limit.refused_requests is 'requests that met a 429, ever';
comment on column aboutness_ops.rate_limit.sent_at is
  'when requests of the last minute were sent, a second apart or more, and one of before';
comment on column aboutness_ops.rate_limit.sent_requests is 'requests that were let pass up to then, ever';
comment on column aboutness_ops.rate_limit.sent_tokens is 'tokens reserved up to then, ever';
comment on column aboutness_ops.rate_limit.exhausted_requests is 'requests let pass up to last_exhausted_at, ever';
comment on column aboutness_ops.rate_limit.lowest_minute is 'the fewest requests in a minute at whose end came a 429';
comment on column aboutness_ops.rate_limit.is_window is 'seems to count a sliding minute (where no header tells)';
comment on column aboutness_ops.rate_limit.steady_rate is 'requests per second that were measured last';
comment on column aboutness_ops.rate_limit.hold_seconds is 'how long the measured rate is held before it grows';

drop function aboutness_ops.reserve(text, float8, float8, float8, float8, float8, float8, float8, jsonb);
drop function aboutness_ops.rate_limited(text, float8, float8, float8, float8, float8[]);
drop function aboutness_ops.decrease_rate(aboutness_ops.rate_limit, float8, float8);
drop function aboutness_ops.roll_minute(aboutness_ops.rate_limit, float8);
drop function aboutness_ops.observe_requests(
  aboutness_ops.rate_limit, aboutness_ops.limit_observation, float8);
drop function aboutness_ops.request_rate(aboutness_ops.rate_limit, float8, float8, float8);
drop function aboutness_ops.token_rate(aboutness_ops.rate_limit, float8, float8);
drop function aboutness_ops.remaining_is_trusted(aboutness_ops.rate_limit, float8);
drop function aboutness_ops.recent_requests(aboutness_ops.rate_limit, float8);

create or replace function aboutness_ops.lock_limit(p_name text, p_now float8) returns aboutness_ops.rate_limit
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
      (name, reserved_at, request_tat, token_tat, base_rate, last_exhausted_at, sent_at, sent_requests, sent_tokens)
      values (p_name, t, t, t, aboutness_ops.first_rate(), t, array[t], array[0], array[0]) on conflict do nothing;
  end loop;
end $$;

create or replace function aboutness_ops.save_limit(r aboutness_ops.rate_limit) returns void language plpgsql as $$
begin
  update aboutness_ops.rate_limit set
    reserved_at = r.reserved_at, requests_reserved = r.requests_reserved, tokens_reserved = r.tokens_reserved,
    request_tat = r.request_tat, token_tat = r.token_tat, request_rate = r.request_rate, token_rate = r.token_rate,
    refused_requests = r.refused_requests, sent_at = r.sent_at, sent_requests = r.sent_requests,
    sent_tokens = r.sent_tokens, observed_at = r.observed_at,
    observed_requests = r.observed_requests, observed_tokens = r.observed_tokens,
    request_limit = r.request_limit, requests_remaining = r.requests_remaining, requests_reset = r.requests_reset,
    max_requests_remaining = r.max_requests_remaining, token_limit = r.token_limit,
    tokens_remaining = r.tokens_remaining, tokens_reset = r.tokens_reset,
    max_tokens_remaining = r.max_tokens_remaining, min_tokens_per_request = r.min_tokens_per_request,
    sampled_at = r.sampled_at, sampled_requests = r.sampled_requests, sampled_remaining = r.sampled_remaining,
    is_bucket = r.is_bucket, slow_start = r.slow_start, base_rate = r.base_rate,
    growth_seconds = r.growth_seconds, hold_seconds = r.hold_seconds, steady_rate = r.steady_rate,
    lowest_minute = r.lowest_minute, is_window = r.is_window, consecutive_429s = r.consecutive_429s,
    paused_at = r.paused_at, paused_until = r.paused_until, last_exhausted_at = r.last_exhausted_at,
    exhausted_requests = r.exhausted_requests
  where name = r.name;
end $$;

create or replace function aboutness_ops.forget_if_idle(r aboutness_ops.rate_limit, t float8)
returns aboutness_ops.rate_limit language plpgsql immutable as $$
begin
  if r.reserved_at < t - 600 then
    r.slow_start := true; r.base_rate := aboutness_ops.first_rate(); r.growth_seconds := 0;
    r.hold_seconds := 0; r.is_window := false; r.consecutive_429s := 0;
    r.last_exhausted_at := t; r.exhausted_requests := r.requests_reserved - r.refused_requests;
    r.requests_remaining := null; r.tokens_remaining := null;
  end if;
  return r;
end $$;

-- The share of a limit that is used where only a 429 would tell that it is passed: requests arrive a little earlier or
-- later than they were sent, and a minute must not see one too many.
create function aboutness_ops.margin() returns float8 language sql immutable as 'select 0.985::float8';

-- Of a total that was sent until p_until, what was sent in the minute before; p_sent: totals at p_sent_at.
create function aboutness_ops.sent_in_minute(p_sent_at float8[], p_sent float8[], p_until float8, p_total float8)
returns float8 language plpgsql immutable as $$
declare
  since constant float8 := p_until - 60;
  i integer := 1;
begin
  if p_sent_at[1] > since then return p_total - p_sent[1]; end if;
  while i < cardinality(p_sent_at) and p_sent_at[i + 1] <= since loop i := i + 1; end loop;
  if i = cardinality(p_sent_at) then return p_total - p_sent[i]; end if;
  return ceil(p_total - 1e-6 - p_sent[i]
    - (since - p_sent_at[i]) / (p_sent_at[i + 1] - p_sent_at[i]) * (p_sent[i + 1] - p_sent[i]));
end $$;

-- Keeps what had been sent at the latest answer: an entry a second, as far back as a minute.
create function aboutness_ops.remember_sent(r aboutness_ops.rate_limit) returns aboutness_ops.rate_limit
language plpgsql immutable as $$
declare
  n integer := cardinality(r.sent_at);
  obsolete integer := 0;
begin
  if n = 1 or r.observed_at >= r.sent_at[n - 1] + 1 then n := n + 1; end if;
  r.sent_at[n] := r.observed_at;
  r.sent_requests[n] := r.observed_requests - r.refused_requests;
  r.sent_tokens[n] := r.observed_tokens;
  while obsolete + 1 < n and r.sent_at[obsolete + 2] <= r.observed_at - 60 loop obsolete := obsolete + 1; end loop;
  if obsolete > 0 then
    r.sent_at := r.sent_at[obsolete + 1:];
    r.sent_requests := r.sent_requests[obsolete + 1:];
    r.sent_tokens := r.sent_tokens[obsolete + 1:];
  end if;
  return r;
end $$;

create function aboutness_ops.observe_requests(r aboutness_ops.rate_limit, o aboutness_ops.limit_observation)
returns aboutness_ops.rate_limit language plpgsql immutable as $$
begin
  if o.request_limit is distinct from r.request_limit then r.max_requests_remaining := null; end if;
  r.request_limit := o.request_limit;
  r.requests_remaining := o.requests_remaining;
  r.requests_reset := o.requests_reset;
  r.max_requests_remaining := greatest(r.max_requests_remaining, o.requests_remaining);
  return r;
end $$;

create or replace function aboutness_ops.observe(
  r aboutness_ops.rate_limit, o aboutness_ops.limit_observation, t float8
) returns aboutness_ops.rate_limit language plpgsql immutable as $$
declare
  n integer;
begin
  if t - o.age > r.paused_at then r.consecutive_429s := 0; end if;
  if t - o.age <= r.observed_at then return r; end if;
  r.observed_at := t - o.age;
  r.observed_requests := o.requests;
  r.observed_tokens := o.tokens;
  r := aboutness_ops.remember_sent(r);
  if o.request_limit > 0 then
    -- A limit of a minute is reset within one; a longer one says nothing about the pace.
    if o.requests_reset > 90 then
      o.request_limit := null; o.requests_remaining := null; o.requests_reset := null;
    end if;
    r := aboutness_ops.observe_requests(r, o);
  end if;
  if o.token_limit > 0 then
    if o.tokens_reset > 90 then
      o.token_limit := null; o.tokens_remaining := null; o.tokens_reset := null;
    end if;
    r := aboutness_ops.observe_tokens(r, o);
    if o.token_limit is not null then r := aboutness_ops.sample_tokens(r, o); end if;
  end if;
  -- At most what we did not use remains of a sliding minute; what is almost a minute old may be gone.
  n := cardinality(r.sent_at);
  r.is_bucket := r.is_bucket or coalesce(case
    when r.request_limit is not null then r.requests_remaining > 1.15 * r.request_limit + 3
      - aboutness_ops.sent_in_minute(r.sent_at, r.sent_requests, r.observed_at + 1, r.sent_requests[n])
    else r.tokens_remaining > 1.15 * r.token_limit
      - aboutness_ops.sent_in_minute(r.sent_at, r.sent_tokens, r.observed_at + 1, r.sent_tokens[n])
  end, false);
  return r;
end $$;

-- The rate of one limit. Little remaining slows it down where it means that others use the limit too: of a sliding
-- minute, which always has little left when it is used well, less must be left than we did not use ourselves.
-- p_limit: stated or configured, p_stated: by headers. p_sent: of this unit. p_slack: units that rounding may hide.
create function aboutness_ops.limit_rate(
  r aboutness_ops.rate_limit, t float8, p_limit float8, p_stated float8, p_remaining float8, p_reset float8,
  p_max_remaining float8, p_used_since float8, p_sent float8[], p_slack float8
) returns float8 language sql immutable as $$
  select least(p_limit, case when not r.is_bucket then aboutness_ops.margin() * p_stated end) / 60
    * aboutness_ops.throttle_factor(
      r.is_bucket or coalesce(p_remaining + p_slack < 0.85 * p_stated - aboutness_ops.sent_in_minute(
        r.sent_at, p_sent, r.sent_at[cardinality(r.sent_at)], p_sent[cardinality(p_sent)]), false),
      p_stated, p_remaining, p_reset, p_max_remaining, p_used_since, t - r.observed_at)
$$;

create function aboutness_ops.request_rate(r aboutness_ops.rate_limit, t float8, p_rpm float8, p_tpm float8)
returns float8 language sql immutable as $$
  select case
    when p_rpm is null and p_tpm is null and r.observed_at = '-infinity' then least(
      aboutness_ops.unknown_rate(), case when not r.slow_start then aboutness_ops.probing_rate(r, p_rpm) end)
    else least(
      aboutness_ops.limit_rate(r, t, p_rpm, r.request_limit, r.requests_remaining, r.requests_reset,
        r.max_requests_remaining, r.requests_reserved - r.observed_requests, r.sent_requests, 1),
      case when p_rpm is null or not r.slow_start then aboutness_ops.probing_rate(r, p_rpm) end)
  end
$$;

create function aboutness_ops.token_rate(r aboutness_ops.rate_limit, t float8, p_tpm float8)
returns float8 language sql immutable as $$
  select aboutness_ops.limit_rate(r, t, p_tpm, r.token_limit, r.tokens_remaining, r.tokens_reset,
    r.max_tokens_remaining, r.tokens_reserved - r.observed_tokens, r.sent_tokens, 0)
$$;
