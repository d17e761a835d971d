-- Version 2: the provider's rate limits, shared by every process that uses the same key. How they are kept
-- stands in docs/design.md, "Pace". Times are seconds since the epoch, rates are units a second.

create table aboutness_ops.rate_limit (
  name                text primary key,  -- kind, endpoint, model, fingerprint of the key
  reserved_at         float8 not null,   -- the last reservation
  requests_reserved   float8 not null default 0,  -- ever
  tokens_reserved     float8 not null default 0,
  requests_due        float8 not null,   -- until when the requests that were let go use up the limit
  tokens_due          float8 not null,
  minute              float8 not null default 0,  -- which minute of the epoch, and how many requests
  minute_requests     float8 not null default 0,  -- were reserved in it and in the one before
  last_minute_requests float8 not null default 0,

  -- What the provider's headers said, in the answer to the request that was sent last.
  seen_at             float8 not null default '-infinity',
  seen_requests       float8 not null default 0,  -- requests_reserved and tokens_reserved at its sending
  seen_tokens         float8 not null default 0,
  request_limit       float8,            -- a minute
  requests_remaining  float8,
  requests_reset      float8,            -- seconds
  most_requests       float8,            -- the most that ever remained of this limit
  token_limit         float8,
  tokens_remaining    float8,
  tokens_reset        float8,
  charge              float8,            -- the fewest tokens that a request was seen to cost
  since_at            float8,            -- what it is found out from: an earlier answer's
  since_requests      float8,
  since_remaining     float8,
  most_tokens         float8,
  refills             boolean not null default false,  -- seen to be a bucket, not a sliding minute

  -- Additive increase, multiplicative decrease, in requests a second.
  slow_start          boolean not null default true,
  pace                float8 not null,   -- where it began to grow
  grown               float8 not null default 0,  -- seconds for which it was needed and has grown
  storm               integer not null default 0,  -- 429s in a row, those of one pause counted once
  paused_at           float8 not null default '-infinity',
  paused_until        float8 not null default '-infinity',
  emptied_at          float8 not null,   -- when the limit was last used up (at first: when we began)
  answered            float8 not null default 0  -- requests answered since then
);

-- The share of its limit at which requests may go, from 0.05 to 1: less than 1 while the provider's bucket has
-- less left than what goes in 4 seconds, unless that lasts until it resets. p_used went since it said so,
-- p_age seconds ago. p_has_a_say: false for a sliding minute, which has nothing left whenever it is well used.
create function aboutness_ops.brake(
  p_has_a_say boolean,
  p_limit float8, p_remaining float8, p_reset float8, p_most float8, p_used float8, p_age float8
) returns float8 language sql immutable as $$
  select case
    when not p_has_a_say or p_limit is null or p_limit <= 0 or p_remaining is null then 1
    when p_remaining >= p_limit / 60 * p_reset then 1
    else greatest(0.05, least(1,
      (p_remaining - p_used + p_age * p_limit / 60) / greatest(1e-9, least(p_limit / 15, p_most / 2))))
  end
$$;

-- The pace that AIMD allows now. Slow start doubles it each second. Later it grows slowly about what was
-- last found out and faster the longer nothing went wrong, as TCP CUBIC (RFC 9438) does; sooner where the
-- limit p_rpm is known and only what others use of it is not.
create function aboutness_ops.pace_now(p_slow_start boolean, p_pace float8, p_grown float8, p_rpm float8)
returns float8 language sql immutable as $$
  select least(1e6, p_pace * case when p_slow_start then power(2, least(p_grown, 60))
                                  else 1 + power(p_grown / case when p_rpm is null then 60 else 20 end, 2) end)
$$;

-- Reserves requests and tokens, after taking in what was learnt since the last call; one round trip.
--   p_now: null, or the time (tests). p_rpm, p_tpm: configured limits a minute, 0 = none.
--   p_settled: tokens used beyond those reserved (below 0: not used). p_answered: requests.
--   p_seen: null, or of an answer {age, requests, tokens, request_limit, requests_remaining, requests_reset,
--     token_limit, …}.
-- wait: seconds until the first request may go, every: seconds between two of them, paused: seconds that a
-- pause still lasts, limited: whether a limit is known. requests, tokens: reserved so far by all.
-- least_charge: the fewest tokens that the provider was seen to count for a request.
create function aboutness_ops.reserve(
  p_name text, p_now float8, p_rpm float8, p_tpm float8,
  p_requests float8, p_tokens float8, p_settled float8, p_answered float8, p_seen jsonb,
  out wait float8, out every float8, out paused float8, out limited boolean,
  out request_rate float8, out token_rate float8, out requests float8, out tokens float8, out least_charge float8
) language plpgsql as $$
declare
  burst constant float8 := 1;          -- seconds: what was not used can be made up for within them
  unknown_pace constant float8 := 4;   -- requests a second
  first_pace constant float8 := 128;
  forgotten_after constant float8 := 600;
  t float8 := coalesce(p_now, extract(epoch from clock_timestamp()));
  r aboutness_ops.rate_limit;
  s record;
  rpm float8;
  tpm float8;
  used_in_a_minute float8;
  has_a_say boolean;  -- what remains
begin
  loop
    select * into r from aboutness_ops.rate_limit where name = p_name for update;
    exit when found;
    insert into aboutness_ops.rate_limit
      (name, reserved_at, requests_due, tokens_due, pace, emptied_at)
      values (p_name, t, t, t, first_pace, t) on conflict do nothing;
  end loop;
  t := coalesce(p_now, extract(epoch from clock_timestamp()));  -- after waiting for our turn

  if r.reserved_at < t - forgotten_after then
    r.slow_start := true; r.pace := first_pace; r.grown := 0; r.storm := 0;
    r.emptied_at := t; r.answered := 0; r.requests_remaining := null; r.tokens_remaining := null;
  end if;

  if floor(t / 60) > r.minute then
    r.last_minute_requests := case when floor(t / 60) = r.minute + 1 then r.minute_requests else 0 end;
    r.minute := floor(t / 60); r.minute_requests := 0;
  end if;
  used_in_a_minute := r.minute_requests + r.last_minute_requests * (1 - (t / 60 - r.minute));

  if p_seen is not null then
    select * into s from jsonb_to_record(p_seen) as seen(
      age float8, requests float8, tokens float8,
      request_limit float8, requests_remaining float8, requests_reset float8,
      token_limit float8, tokens_remaining float8, tokens_reset float8);
    if t - s.age > r.paused_at then r.storm := 0; end if;
    if t - s.age > r.seen_at then
      r.seen_at := t - s.age; r.seen_requests := s.requests; r.seen_tokens := s.tokens;
      if s.request_limit > 0 then
        if s.request_limit is distinct from r.request_limit then r.most_requests := null; end if;
        r.request_limit := s.request_limit;
        r.requests_remaining := s.requests_remaining; r.requests_reset := s.requests_reset;
        r.most_requests := greatest(r.most_requests, s.requests_remaining);
        -- A sliding minute has at most left what we did not use in it.
        r.refills := r.refills
          or coalesce(s.requests_remaining + used_in_a_minute > 1.15 * s.request_limit, false);
      end if;
      if s.token_limit > 0 then
        if s.token_limit is distinct from r.token_limit then
          r.most_tokens := null; r.charge := null; r.since_requests := null;
        end if;
        r.token_limit := s.token_limit;
        r.tokens_remaining := s.tokens_remaining; r.tokens_reset := s.tokens_reset;
        r.most_tokens := greatest(r.most_tokens, s.tokens_remaining);
        -- What a request cost: all that is gone of a full bucket, or what went between two answers. Where others
        -- share the key, or nothing refills, it seems more than it is.
        r.charge := least(r.charge, nullif(s.token_limit - s.tokens_remaining, 0));
        if s.requests >= r.since_requests + 20 and s.tokens_remaining < 0.9 * s.token_limit then
          r.charge := least(r.charge,
            (r.since_remaining - s.tokens_remaining + (r.seen_at - r.since_at) * s.token_limit / 60)
            / (s.requests - r.since_requests));
        end if;
        if r.since_requests is null or s.requests >= r.since_requests + 20 then
          r.since_at := r.seen_at; r.since_requests := s.requests; r.since_remaining := s.tokens_remaining;
        end if;
      end if;
    end if;
  end if;

  -- A configured limit may be lower than the account's, never higher.
  rpm := least(nullif(p_rpm, 0), r.request_limit);
  tpm := least(nullif(p_tpm, 0), r.token_limit);
  if r.requests_due - t > burst / 2 and t > r.paused_until then
    r.grown := r.grown + least(1, greatest(0, t - r.reserved_at));
  end if;
  -- A sliding minute has left what we did not use in it: where less is left, others use it too.
  has_a_say := r.refills
    or coalesce(r.requests_remaining + used_in_a_minute < 0.85 * r.request_limit, r.request_limit is null);
  request_rate := rpm / 60 * aboutness_ops.brake(has_a_say, r.request_limit, r.requests_remaining, r.requests_reset,
    r.most_requests, r.requests_reserved - r.seen_requests, t - r.seen_at);
  limited := rpm is not null or tpm is not null;
  if not limited and r.seen_at = '-infinity' then
    request_rate := unknown_pace;  -- until the first answer tells what there is
  elsif rpm is null or not r.slow_start then
    request_rate := least(request_rate, aboutness_ops.pace_now(r.slow_start, r.pace, r.grown, rpm));
  end if;
  token_rate := tpm / 60 * aboutness_ops.brake(has_a_say, r.token_limit, r.tokens_remaining, r.tokens_reset,
    r.most_tokens, r.tokens_reserved - r.seen_tokens, t - r.seen_at);

  r.answered := r.answered + p_answered;
  r.tokens_reserved := r.tokens_reserved + p_settled;
  if token_rate is not null then r.tokens_due := r.tokens_due + p_settled / token_rate; end if;

  paused := greatest(0, r.paused_until - t);
  wait := greatest(paused, r.requests_due - burst - t, r.tokens_due - burst - t);
  every := greatest(0, 1 / request_rate, p_tokens / nullif(p_requests, 0) / token_rate);
  if p_requests > 0 then
    r.requests_due := greatest(r.requests_due, t + wait) + coalesce(p_requests / request_rate, 0);
    r.tokens_due := greatest(r.tokens_due, t + wait) + coalesce(p_tokens / token_rate, 0);
    r.requests_reserved := r.requests_reserved + p_requests;
    r.tokens_reserved := r.tokens_reserved + p_tokens;
    r.minute_requests := r.minute_requests + p_requests;
    r.reserved_at := t;
  end if;
  requests := r.requests_reserved;
  tokens := r.tokens_reserved;
  least_charge := r.charge;

  update aboutness_ops.rate_limit set
    reserved_at = r.reserved_at, requests_reserved = r.requests_reserved, tokens_reserved = r.tokens_reserved,
    requests_due = r.requests_due, tokens_due = r.tokens_due,
    minute = r.minute, minute_requests = r.minute_requests, last_minute_requests = r.last_minute_requests,
    seen_at = r.seen_at, seen_requests = r.seen_requests, seen_tokens = r.seen_tokens,
    request_limit = r.request_limit, requests_remaining = r.requests_remaining,
    requests_reset = r.requests_reset, most_requests = r.most_requests,
    token_limit = r.token_limit, tokens_remaining = r.tokens_remaining,
    tokens_reset = r.tokens_reset, most_tokens = r.most_tokens, charge = r.charge,
    since_at = r.since_at, since_requests = r.since_requests, since_remaining = r.since_remaining,
    refills = r.refills,
    slow_start = r.slow_start, pace = r.pace, grown = r.grown, storm = r.storm,
    emptied_at = r.emptied_at, answered = r.answered
  where name = p_name;
end $$;

-- A 429: pauses every request of this name. p_age: seconds since it was sent. p_wait: seconds that it asks
-- for, null where it names none: then p_waits, by how many there were in a row.
-- seconds: until requests may go again. added: by which this 429 lengthened the pause. begins: whether it began
-- a pause (a 429 to a request of before the pause belongs to the same storm).
create function aboutness_ops.rate_limited(
  p_name text, p_now float8, p_rpm float8, p_age float8, p_wait float8, p_waits float8[],
  out seconds float8, out added float8, out begins boolean
) language plpgsql as $$
declare
  burst constant float8 := 1;
  enough constant float8 := 10;  -- requests that say something about a limit
  t float8;
  pause_before float8;
  rpm float8;
  r aboutness_ops.rate_limit;
begin
  select * into strict r from aboutness_ops.rate_limit where name = p_name for update;
  t := coalesce(p_now, extract(epoch from clock_timestamp()));
  pause_before := greatest(t, r.paused_until);
  begins := t - p_age > r.paused_at;
  if begins then
    r.storm := r.storm + 1;
    -- Where one pause after the other helps nothing, they become longer, up to the last of the configured waits.
    p_wait := greatest(coalesce(p_wait, p_waits[least(r.storm, cardinality(p_waits))]),
                       least(power(2, least(r.storm, 20)) / 1000, p_waits[cardinality(p_waits)]));
    rpm := least(nullif(p_rpm, 0), r.request_limit);
    if r.slow_start then
      r.pace := coalesce(0.95 * rpm / 60, aboutness_ops.pace_now(true, r.pace, r.grown, rpm) / 2);
      r.slow_start := false; r.emptied_at := t; r.answered := 0; r.grown := 0;
    elsif r.answered >= enough then
      -- What was answered between two moments at which the limit was used up is the limit.
      r.pace := greatest(0.05, rpm / 60 / 4, least(rpm / 60, 0.95 * r.answered / greatest(t - r.emptied_at, 0.1),
        aboutness_ops.pace_now(false, r.pace, r.grown, rpm)));
      r.emptied_at := t; r.answered := 0; r.grown := 0;
    end if;
    r.paused_at := t;
  end if;
  r.paused_until := greatest(pause_before, t + coalesce(p_wait, 0));
  seconds := r.paused_until - t;
  added := r.paused_until - pause_before;
  update aboutness_ops.rate_limit set
    storm = r.storm, pace = r.pace, slow_start = r.slow_start, grown = r.grown,
    paused_at = r.paused_at, paused_until = r.paused_until, emptied_at = r.emptied_at, answered = r.answered,
    -- No burst at the end of a pause: what was not used during it is not made up for.
    requests_due = greatest(requests_due, r.paused_until + burst),
    tokens_due = greatest(tokens_due, r.paused_until + burst)
  where name = p_name;
end $$;
