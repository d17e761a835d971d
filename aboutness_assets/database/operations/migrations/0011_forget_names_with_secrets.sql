-- Names of limits held the base URL as it was set, with a password or a key in its query. What such a name stands
-- for is learned anew in a minute under a name without secrets.
delete from aboutness_ops.rate_limit where name ~ '://[^/ ]*@' or name like '%?%';
