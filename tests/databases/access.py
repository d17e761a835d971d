"""Cases of rights, row-level security, read-only servers and settings of the database."""

from tests.databases.case import FAILOVER, STANDBY, Case, FailsUnpaid, Fills

RIGHTS = [
    Case(
        "no right to read songs",
        FailsUnpaid("permission denied for table songs"),
        "revoke select on songs from {role}",
    ),
    Case(
        "rights on the three columns of songs alone",
        Fills(),
        "alter table songs add secret text; revoke select on songs from {role};"
        " grant select (song_id, title, artist) on songs to {role}",
    ),
    Case(
        "no right to insert",
        FailsUnpaid("no INSERT on song_id"),
        "revoke insert on song_aboutness from {role}",
    ),
    Case(
        "no right to insert one of the columns",
        FailsUnpaid("no INSERT on moments_confidence"),
        "revoke insert on song_aboutness from {role};"
        " grant insert (song_id, emotions_text, emotions_confidence, emotions_vector,"
        " moments_text, moments_vector)"
        " on song_aboutness to {role}",
    ),
    Case(
        "no right to read song_aboutness",
        FailsUnpaid("no SELECT on song_id"),
        "revoke select on song_aboutness from {role}",
    ),
    Case(
        "no right on the schema",
        FailsUnpaid("or its role may not see it"),
        "revoke usage on schema public from public, {role}",
    ),
    Case(
        "no right to connect",
        FailsUnpaid("permission denied for database"),
        "revoke connect on database {database} from {role}",
    ),
    Case(
        "more rights than needed",
        Fills("UPDATE, DELETE, TRUNCATE on song_aboutness"),
        "grant update, delete, truncate on song_aboutness to {role}; grant insert on songs to {role}",
    ),
    Case(
        "a role that owns the tables",
        Fills("owns song_aboutness"),
        "alter table songs owner to {role}; alter table song_aboutness owner to {role}",
    ),
]

ROW_SECURITY = [
    Case(
        "row-level security on songs, without a policy",
        FailsUnpaid("row-level security"),
        "alter table songs enable row level security",
    ),
    Case(
        "row-level security that shows a part of the catalogue",
        FailsUnpaid("row-level security: is in force for the role on songs"),
        "alter table songs enable row level security;"
        " create policy part on songs for select using (song_id <= 4)",
    ),
    Case(
        "row-level security on songs whose policy shows all",
        Fills(),
        "alter table songs enable row level security;"
        " create policy every_song on songs for select using (true)",
    ),
    Case(
        "row-level security on song_aboutness, without a policy",
        FailsUnpaid("row-level security: is in force for the role on song_aboutness"),
        "alter table song_aboutness enable row level security",
    ),
    Case(
        "row-level security that lets rows in and shows none",
        FailsUnpaid("row-level security: is in force for the role on song_aboutness"),
        "alter table song_aboutness enable row level security;"
        " create policy insert_only on song_aboutness for insert with check (true)",
    ),
    Case(
        "row-level security that hides rows of another writer",
        FailsUnpaid("row-level security: is in force for the role on song_aboutness"),
        "alter table song_aboutness add written_by text default 'nobody';"
        " alter table song_aboutness enable row level security;"
        " create policy insert_all on song_aboutness for insert with check (true);"
        " create policy own on song_aboutness for select using (written_by = current_user)",
    ),
    Case(
        "row-level security whose policies allow what is needed",
        Fills(),
        "alter table song_aboutness enable row level security;"
        " create policy insert_all on song_aboutness for insert to {role} with check (true);"
        " create policy read_all on song_aboutness for select to {role} using (true)",
    ),
]

READ_ONLY = [
    Case(
        "a database that is read-only",
        FailsUnpaid("read-only"),
        "alter database {database} set default_transaction_read_only = on",
    ),
    Case(
        "a role that is read-only",
        FailsUnpaid("read-only"),
        "alter role {role} in database {database} set default_transaction_read_only = on",
    ),
    Case("a hot standby", FailsUnpaid("standby"), server=STANDBY),
    Case("a standby that is promoted while a run writes", Fills(), server=FAILOVER),
]

SETTINGS = [
    Case(
        "transactions that are serializable",
        Fills(),
        "alter database {database} set default_transaction_isolation = 'serializable'",
    ),
    Case(
        "old settings of strings, dates and bytes",
        Fills(),
        "alter database {database} set standard_conforming_strings = off;"
        " alter database {database} set datestyle = 'SQL, DMY';"
        " alter database {database} set bytea_output = 'escape';"
        " alter database {database} set timezone = 'Asia/Kathmandu';"
        " alter database {database} set extra_float_digits = 0",
    ),
    Case(
        "a client_encoding of LATIN1",
        Fills(),
        "alter role {role} in database {database} set client_encoding = 'LATIN1'",
    ),
    Case(
        "no search_path",
        FailsUnpaid("?schema="),
        "alter database {database} set search_path = ''",
    ),
    Case(
        "no search_path, and the schema in the URL",
        Fills(),
        "alter database {database} set search_path = ''",
        parameters="?schema=public",
    ),
    Case(
        "three connections at most, which the URL does not say",
        Fills(),
        "alter database {database} connection limit 3",
    ),
    Case(
        "row_security off",
        Fills(),
        "alter database {database} set row_security = off",
    ),
]
