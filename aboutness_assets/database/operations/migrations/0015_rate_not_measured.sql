-- Multiplicative decrease after a 429 to a request sent at p_at, until when p_sent were let pass, ever. p_asked: seconds
-- that the 429 names, else 0. Where no limit is known and nothing was let pass in the minute before, a 429 measures
-- nothing: it pauses, and the rate stays.
create or replace function aboutness_ops.decrease_rate(
  r aboutness_ops.rate_limit, p_at float8, p_sent float8, p_rpm float8, p_asked float8
) returns aboutness_ops.rate_limit language plpgsql immutable as $$
declare
  since constant float8 := p_sent - r.exhausted_requests;
  seconds constant float8 := greatest(0.1, p_at - r.last_exhausted_at);
  in_minute constant float8 := aboutness_ops.sent_in_minute(r.sent_at, r.sent_requests, p_at, p_sent);
begin
  if not r.slow_start and p_at < r.last_exhausted_at + 0.5 then return r; end if;  -- sent before others knew
  if p_rpm is null and in_minute <= 0 then return r; end if;
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
