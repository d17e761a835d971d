-- A table of the service may be called by another name in our records: table ids of earlier versions hold an oid,
-- which a dump and restore changes, and an operator may move a database to another cluster.
-- Every record of p_from becomes one of p_to. Where both have the same record, budgets add up, the old-style rows
-- of p_from stay, and of everything else p_to's. To be called while no run works on either. Returns how many
-- records were renamed.
create function aboutness_ops.rename_table(p_from text, p_to text) returns bigint language plpgsql as $$
declare
  relation  record;
  duplicate record;
  renamed   bigint := 0;
  affected  bigint;
begin
  if p_from = p_to then
    return 0;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('aboutness_ops rename_table', 0));
  update aboutness_ops.budget b set billed_usd = b.billed_usd + o.billed_usd,
    uncertain_usd = b.uncertain_usd + o.uncertain_usd, reserved_usd = b.reserved_usd + o.reserved_usd
  from aboutness_ops.budget o
  where b.table_id = p_to and o.table_id = p_from and o.budget = b.budget;
  delete from aboutness_ops.budget o where o.table_id = p_from
    and exists (select from aboutness_ops.budget b where b.table_id = p_to and b.budget = o.budget);
  -- Of two records of the old-style rows the one that was made before the move is the evidence.
  delete from aboutness_ops.old_style_baseline where table_id = p_to
    and exists (select from aboutness_ops.old_style_baseline where table_id = p_from);
  for relation in
    -- What refers to another table comes last: it is renamed along with what it refers to.
    select c.oid::regclass as name from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'aboutness_ops'::regnamespace and c.relkind = 'r' and a.attname = 'table_id'
    order by exists (select from pg_constraint f where f.conrelid = c.oid and f.contype = 'f'), c.relname
  loop
    begin
      execute format('update %s set table_id = $1 where table_id = $2', relation.name) using p_to, p_from;
      get diagnostics affected = row_count;
      renamed := renamed + affected;
    exception when unique_violation then
      for duplicate in execute format('select ctid from %s where table_id = $1', relation.name) using p_from loop
        begin
          execute format('update %s set table_id = $1 where ctid = $2', relation.name) using p_to, duplicate.ctid;
          renamed := renamed + 1;
        exception when unique_violation then
          execute format('delete from %s where ctid = $1', relation.name) using duplicate.ctid;
        end;
      end loop;
    end;
  end loop;
  return renamed;
end $$;
