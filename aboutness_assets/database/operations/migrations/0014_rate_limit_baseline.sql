-- A limit that no header states is measured from a longer baseline and probed more rarely. Requests that met a 429 are
-- told apart by when they were sent. docs/design.md, "Rate limits", explains the whole; units are those of 0004.
alter table aboutness_ops.rate_limit
  add refused_at float8 not null default '-infinity',
  add refused_before float8 not null default 0,
  add baseline_at float8 not null default '-infinity',
  add baseline_requests float8 not null default 0;
update aboutness_ops.rate_limit set
  refused_before = refused_requests, baseline_at = last_exhausted_at, baseline_requests = exhausted_requests;

comment on column aboutness_ops.rate_limit.refused_at is 'when the request was sent whose 429 began the last pause';
comment on column aboutness_ops.rate_limit.refused_before is 'of refused_requests, those before that request';
comment on column aboutness_ops.rate_limit.baseline_at is 'of a 429 since which the limit seems to be the same';
comment on column aboutness_ops.rate_limit.baseline_requests is 'requests let pass up to then, ever';

drop function aboutness_ops.measure_rate(aboutness_ops.rate_limit, float8, float8, float8);
drop function aboutness_ops.decrease_rate(aboutness_ops.rate_limit, float8, float8, float8);

create or replace function aboutness_ops.save_limit(r aboutness_ops.rate_limit) returns void language plpgsql as $$
begin
  update aboutness_ops.rate_limit set
    reserved_at = r.reserved_at, requests_reserved = r.requests_reserved, tokens_reserved = r.tokens_reserved,
    request_tat = r.request_tat, token_tat = r.token_tat, request_rate = r.request_rate, token_rate = r.token_rate,
    refused_requests = r.refused_requests, refused_at = r.refused_at, refused_before = r.refused_before,
    sent_at = r.sent_at, sent_requests = r.sent_requests,
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
    exhausted_requests = r.exhausted_requests, baseline_at = r.baseline_at, baseline_requests = r.baseline_requests
  where name = r.name;
end $$;

-- Of a total that was sent until p_until, what was sent in the minute before; p_sent: totals at p_sent_at.
create or replace function aboutness_ops.sent_in_minute(
  p_sent_at float8[], p_sent float8[], p_until float8, p_total float8
) returns float8 language plpgsql immutable as $$
declare
  since constant float8 := p_until - 60;
  i integer := 1;
begin
  if p_sent_at[1] > since then return p_total - p_sent[1]; end if;
  while i < cardinality(p_sent_at) and p_sent_at[i + 1] <= since loop i := i + 1; end loop;
  if i = cardinality(p_sent_at) or p_sent_at[i + 1] - p_sent_at[i] > 2 then  -- after a pause: sent at its end
    return p_total - p_sent[i];
  end if;
  return ceil(p_total - 1e-6 - p_sent[i]
    - (since - p_sent_at[i]) / (p_sent_at[i + 1] - p_sent_at[i]) * (p_sent[i + 1] - p_sent[i]));
end $$;

-- Keeps what had been sent at the latest answer: an entry a second, as far back as a minute.
create or replace function aboutness_ops.remember_sent(r aboutness_ops.rate_limit) returns aboutness_ops.rate_limit
language plpgsql immutable as $$
declare
  n integer := cardinality(r.sent_at);
  obsolete integer := 0;
begin
  if n = 1 or r.observed_at >= r.sent_at[n - 1] + 1 then n := n + 1; end if;
  r.sent_at[n] := r.observed_at;
  r.sent_requests[n] := case
    when r.observed_at >= r.refused_at - 1e-3
      then greatest(r.observed_requests - r.refused_requests, r.exhausted_requests)
    else r.observed_requests - r.refused_before
  end;
  r.sent_tokens[n] := r.observed_tokens;
  while obsolete + 1 < n and r.sent_at[obsolete + 2] <= r.observed_at - 60 loop obsolete := obsolete + 1; end loop;
  if obsolete > 0 then
    r.sent_at := r.sent_at[obsolete + 1:];
    r.sent_requests := r.sent_requests[obsolete + 1:];
    r.sent_tokens := r.sent_tokens[obsolete + 1:];
  end if;
  return r;
end $$;

-- Takes a request sent at p_at, which met a 429, out of what was let pass since.
create function aboutness_ops.strike_refused(r aboutness_ops.rate_limit, p_at float8) returns aboutness_ops.rate_limit
language plpgsql immutable as $$
begin
  r.refused_requests := r.refused_requests + 1;
  r.sent_requests := array(
    select case when sent >= p_at - 1e-3 then greatest(n - 1, least(n, r.exhausted_requests)) else n end
    from unnest(r.sent_at, r.sent_requests) with ordinality as entry(sent, n, number) order by number);
  return r;
end $$;

-- Requests per second: the whole number per minute that is meant, if one is near enough. One request more or less
-- passes in the seconds; limits are whole numbers.
create function aboutness_ops.whole_per_minute(p_requests float8, p_seconds float8) returns float8
language sql immutable as $$
  select case when round(measured) > 0 and abs(round(measured) - measured) * p_seconds < 60
    then round(measured) else measured end / 60
  from (values (60 * p_requests / p_seconds)) as m(measured)
$$;

-- Measures a limit that no header states, at the second 429 and later ones. p_at: when the request was sent that met
-- the 429. p_sent: requests let pass until then, ever. p_in_minute: of these, in the minute before; p_since: since the
-- 429 before, p_seconds ago. p_asked: seconds that the 429 names, else 0.
create function aboutness_ops.measure_rate(
  r aboutness_ops.rate_limit, p_at float8, p_sent float8, p_in_minute float8, p_since float8, p_seconds float8,
  p_asked float8
) returns aboutness_ops.rate_limit language plpgsql immutable as $$
declare
  probing constant float8 := aboutness_ops.probing_rate(r, null);
  grew constant boolean := r.hold_seconds > 0 and r.growth_seconds >= r.hold_seconds;
  expected constant float8 := p_in_minute * p_seconds / 60;
  total float8 := p_sent - r.baseline_requests;
  total_seconds float8 := p_at - r.baseline_at;
  exact boolean;
  confirmed boolean;
  requests float8;
  measured float8;
  longest float8;
begin
  if grew and p_in_minute > 90 * r.steady_rate + 3 and r.base_rate = r.steady_rate then
    -- A bucket had filled up, or the limit is another one: the next 429 tells.
    r.lowest_minute := p_in_minute; r.is_window := false;
    r.baseline_at := p_at; r.baseline_requests := p_sent;
    r.base_rate := least(probing, greatest(2 * r.steady_rate, 0.7 * probing));
    return r;
  end if;
  r.lowest_minute := least(r.lowest_minute, p_in_minute);
  -- A bucket would have more than two requests sooner, and a sliding minute lets little pass until what was sent at
  -- once is a minute old. It never lets more pass than in a minute at whose end it refused.
  r.is_window := (r.is_window or p_asked * p_in_minute / 60 >= 2
      or expected between 2 and p_in_minute and p_since <= 0.1 * expected)
    and p_in_minute <= 1.08 * r.lowest_minute + 0.9;
  -- A bucket was empty at each 429: what it let pass in between is what refilled, give or take one.
  if total not between (p_since - 1) / p_seconds * total_seconds - 1 and (p_since + 1) / p_seconds * total_seconds + 1
  then
    r.baseline_at := r.last_exhausted_at; r.baseline_requests := r.exhausted_requests;
    total := p_since; total_seconds := p_seconds;
  end if;
  exact := r.is_window and (p_since = 0 or p_since >= p_in_minute / 2);
  measured := case
    when r.is_window then case when p_in_minute <= r.lowest_minute + 1 then r.lowest_minute else p_in_minute end / 60
    when total >= 3 and total_seconds > 2 * (r.paused_until - r.paused_at)
      then least((p_in_minute + 1) / 60, aboutness_ops.whole_per_minute(total, total_seconds))
    -- A small bucket is empty as soon as the rate is too high.
    else least(0.7 * probing, case when r.hold_seconds = 0 then p_in_minute / 60 end)
  end;
  if grew and not r.is_window and r.hold_seconds >= 300 then
    measured := greatest(measured, r.base_rate);  -- held without a 429 for longer than what was saved lasts
  end if;
  measured := greatest(1 / 60::float8, measured);
  -- The fewer requests it was measured by, the sooner it is measured again.
  confirmed := r.hold_seconds > 0 and measured > 0.75 * r.steady_rate and measured < 1.35 * r.steady_rate;
  longest := greatest(1800, 300 / measured);
  requests := case when exact then p_in_minute when r.is_window then p_since else total end;
  if requests < 30 and not confirmed then
    r.hold_seconds := 30;
  elsif exact then
    r.hold_seconds := longest;
  elsif not r.is_window then
    r.hold_seconds := least(longest, greatest(300, 120 / measured, 10 * requests / measured));
  end if;
  r.base_rate := measured;
  r.steady_rate := measured;
  return r;
end $$;

-- Multiplicative decrease after a 429 to a request sent at p_at, until when p_sent were let pass, ever. p_asked: seconds
-- that the 429 names, else 0.
create function aboutness_ops.decrease_rate(
  r aboutness_ops.rate_limit, p_at float8, p_sent float8, p_rpm float8, p_asked float8
) returns aboutness_ops.rate_limit language plpgsql immutable as $$
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
    r.baseline_at := p_at;
    r.baseline_requests := p_sent;
  elsif p_rpm is null then
    r := aboutness_ops.measure_rate(r, p_at, p_sent, in_minute, since, seconds, p_asked);
  elsif since >= 10 then
    r.base_rate := greatest(p_rpm / 60 / 4, least(
      p_rpm / 60, 0.95 * since / seconds, aboutness_ops.probing_rate(r, p_rpm)));
  else
    return r;
  end if;
  if r.slow_start or p_rpm is not null or since <> 0 then
    r.last_exhausted_at := p_at;
    r.exhausted_requests := p_sent;
  end if;
  r.slow_start := false;
  r.growth_seconds := 0;
  return r;
end $$;

-- A 429: pauses every request of this name. p_age: seconds since the request was sent. p_requests: reserved by all up
-- to and including it. p_wait: seconds that the 429 asks for, null where it names no time; then p_waits, by how many
-- there were in a row. What is reserved and not sent keeps its place in line.
-- The columns of the result are those of limits/store.py's Pause.
create or replace function aboutness_ops.rate_limited(
  p_name text, p_now float8, p_rpm float8, p_age float8, p_requests float8, p_wait float8, p_waits float8[],
  out seconds float8, out added float8, out begins boolean
) language plpgsql as $$
declare
  burst constant float8 := aboutness_ops.burst_seconds();
  r aboutness_ops.rate_limit := aboutness_ops.lock_limit(p_name, p_now);
  t constant float8 := coalesce(p_now, aboutness_ops.epoch_seconds());
  until_before constant float8 := greatest(t, r.paused_until);
  asked constant float8 := coalesce(p_wait, 0);
  let_pass float8;
begin
  begins := t - p_age > r.paused_at and t - p_age >= r.paused_until;
  -- A request with an earlier place than the one whose 429 came first had not been let pass.
  let_pass := case when begins then p_requests - r.refused_requests else p_requests - 1 - r.refused_before end;
  if let_pass <= r.baseline_requests then r.baseline_requests := r.baseline_requests - 1; end if;
  if let_pass <= r.exhausted_requests then r.exhausted_requests := r.exhausted_requests - 1; end if;
  if begins then
    r.consecutive_429s := r.consecutive_429s + 1;
    p_wait := aboutness_ops.pause_seconds(r.consecutive_429s, p_wait, p_waits);
    r := aboutness_ops.decrease_rate(
      r, t - p_age,
      greatest(p_requests - 1 - r.refused_requests, r.exhausted_requests, r.sent_requests[cardinality(r.sent_at)]),
      least(nullif(p_rpm, 0), r.request_limit), asked);
    r.paused_at := t;
    r.refused_at := t - p_age;
    r.refused_before := r.refused_requests;
  end if;
  r := aboutness_ops.strike_refused(r, t - p_age);
  r.paused_until := greatest(until_before, t + coalesce(p_wait, 0));
  -- What was not used during a pause is not made up for: no burst follows it. What follows the request that was sent
  -- last need not wait for that one's share after the pause, except where a sliding minute may still be full.
  r.request_tat := r.paused_until + burst + greatest(0, r.request_tat - until_before - burst
    - case when until_before = t and not r.is_window then coalesce(1 / r.request_rate, 0) else 0 end);
  r.token_tat := r.paused_until + burst + greatest(0, r.token_tat - until_before - burst);
  seconds := r.paused_until - t;
  added := r.paused_until - until_before;
  perform aboutness_ops.save_limit(r);
end $$;
