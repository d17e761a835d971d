"""Cases of what the tables are, where they lie, and which types ids and vectors have."""

import uuid

from tests.databases.case import DEBIAN, Case, FailsItsSong, FailsUnpaid, Fills


def isrc(number: int) -> str:
    """An id as record companies have it."""
    return f"GBAYE{6700000 + number}"


def base62(number: int) -> str:
    """An id as Spotify has it; two of them differ in case alone."""
    return f"{'aA' if number % 2 else 'Aa'}{number // 2:04d}"


IN_SCHEMA_MUSIC = (
    "create schema music; alter table songs set schema music;"
    " alter table song_aboutness set schema music; grant usage on schema music to {role}"
)

TABLES = [
    Case("the tables as the contract has them", Fills()),
    Case(
        "old-style rows",
        Fills(),
        "insert into song_aboutness (song_id, emotions_text, moments_text, emotions_vector, created_at)"
        " values (3, 'Joy [confidence: high]', repeat('x', 300), array_fill(0.5, array[8])::real[], "
        "'2025-03-01')",
        rows_before=1,
    ),
    Case(
        "another schema, in the URL as Prisma has it",
        Fills(),
        IN_SCHEMA_MUSIC,
        parameters="?schema=music&connection_limit=3&pool_timeout=20",
        rows_in="music.song_aboutness",
    ),
    Case(
        "another schema that the URL does not name",
        FailsUnpaid("?schema="),
        rows_in="music.song_aboutness",
        arrange=IN_SCHEMA_MUSIC,
    ),
    Case(
        "a table named as Prisma names models",
        FailsUnpaid("no table song_aboutness"),
        rows_in='public."SongAboutness"',
        arrange='alter table song_aboutness rename to "SongAboutness"',
    ),
    Case(
        "a view for the songs",
        Fills(),
        "alter table songs rename to tracks; create view songs as select * from tracks;"
        " grant select on songs to {role}; revoke all on tracks from {role}",
    ),
    Case(
        "other names of the songs' columns, in the songs query",
        Fills(),
        "alter table songs rename to tracks; alter table tracks rename song_id to id;"
        " alter table tracks rename title to name",
        settings={
            "songs_query": "select id as song_id, name as title, artist from tracks -- our tracks\n;",
        },
    ),
    Case(
        "no table or view named songs",
        FailsUnpaid('relation "songs" does not exist. Set ABOUTNESS_SONGS_QUERY'),
        "alter table songs rename to tracks",
    ),
    Case(
        "an empty catalogue",
        FailsUnpaid("no song"),
        "delete from songs",
    ),
    Case(
        "a view for song_aboutness",
        Fills(),
        "alter table song_aboutness rename to about; create view song_aboutness as select * from about;"
        " grant select, insert on song_aboutness to {role}",
    ),
    Case(
        "a partitioned song_aboutness",
        Fills(),
        "create table parted (like song_aboutness including all) partition by hash (song_id);"
        " create table parted_0 partition of parted for values with (modulus 2, remainder 0);"
        " create table parted_1 partition of parted for values with (modulus 2, remainder 1);"
        " drop table song_aboutness; alter table parted rename to song_aboutness;"
        " grant select, insert on song_aboutness to {role}",
    ),
    Case(
        "a partitioned song_aboutness that has no partition for one song",
        FailsItsSong("12", "no partition of relation", "song 12"),
        "create table parted (like song_aboutness including all) partition by range (song_id);"
        " create table parted_0 partition of parted for values from (0) to (12);"
        " drop table song_aboutness; alter table parted rename to song_aboutness;"
        " grant select, insert on song_aboutness to {role}",
    ),
]

IDS = [
    Case("ids as bigint", Fills(), id_type="bigint", ids=lambda number: number + 2**40),
    Case(
        "ids as smallint",
        Fills(),
        "alter table songs alter song_id type smallint;"
        " alter table song_aboutness alter song_id type smallint",
    ),
    Case("negative ids", Fills(), ids=lambda number: -number),
    Case(
        "ids as numeric",
        FailsUnpaid("numeric"),
        "alter table songs alter song_id type numeric; alter table song_aboutness alter song_id type numeric",
    ),
    Case(
        "ids as numeric in songs alone, cast in the songs query",
        Fills(),
        "alter table songs alter song_id type numeric",
        settings={"songs_query": "select song_id::integer, title, artist from songs"},
    ),
    Case(
        "ids as uuid",
        Fills(),
        id_type="uuid",
        ids=lambda number: str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
    ),
    Case("ids as ISRC", Fills(), id_type="text", ids=isrc),
    Case(
        "ids as varchar",
        Fills(),
        "alter table songs alter song_id type varchar(12);"
        " alter table song_aboutness alter song_id type varchar(12)",
        id_type="text",
        ids=isrc,
    ),
    Case(
        "ids as char",
        FailsUnpaid("bpchar"),
        "alter table songs alter song_id type char(12);"
        " alter table song_aboutness alter song_id type char(12)",
        id_type="text",
        ids=isrc,
    ),
    Case("ids in base 62", Fills(), id_type="text", ids=base62),
    Case(
        "ids as a domain over text",
        Fills(),
        "create domain isrc as text; alter table songs alter song_id type isrc;"
        " alter table song_aboutness alter song_id type isrc",
        id_type="text",
        ids=isrc,
    ),
    Case(
        "ids of other types in the two tables",
        FailsUnpaid("Cast song_id in ABOUTNESS_SONGS_QUERY"),
        "alter table songs alter song_id type text",
    ),
    Case(
        "ids of different collations",
        FailsUnpaid("collate"),
        vector_type="real[]",
        server=DEBIAN,
        arrange='alter table songs alter song_id type text collate "C"; '
        ' alter table song_aboutness alter song_id type text collate "en-x-icu"',
        id_type="text",
        ids=base62,
    ),
    Case(
        "ids of different collations, collated in the songs query",
        Fills(),
        vector_type="real[]",
        server=DEBIAN,
        arrange='alter table songs alter song_id type text collate "C"; '
        ' alter table song_aboutness alter song_id type text collate "en-x-icu"',
        id_type="text",
        ids=base62,
        settings={"songs_query": 'select song_id collate "en-x-icu" as song_id, title, artist from songs'},
    ),
    Case(
        "ids in base 62 under an ICU collation",
        Fills(),
        id_type="text",
        ids=base62,
        vector_type="real[]",
        server=DEBIAN,
    ),
    Case(
        "ids under a collation that ignores case",
        Fills(),
        "create collation ignores_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
        " alter table songs alter song_id type text collate ignores_case;"
        " alter table song_aboutness alter song_id type text collate ignores_case",
        id_type="text",
        ids=isrc,
        vector_type="real[]",
        server=DEBIAN,
    ),
]

VECTORS = [
    Case("vectors as halfvec", Fills(), vector_type="halfvec(8)"),
    Case("vectors as real[]", Fills(), vector_type="real[]"),
    Case("vectors as double precision[]", Fills(), vector_type="double precision[]", server=DEBIAN),
    Case(
        "vectors without a dimension",
        Fills(),
        "alter table song_aboutness alter emotions_vector type vector, alter moments_vector type vector",
    ),
    Case("vectors of fewer numbers, which the model makes when asked", Fills(), vector_type="vector(5)"),
    Case(
        "vectors of another dimension than the model makes",
        FailsUnpaid("dimension", embedding_requests=2),
        vector_type="vector(5)",
        refused_parameters=["dimensions"],
    ),
    Case(
        "arrays whose CHECK names a dimension, which the model makes when asked",
        Fills(),
        "alter table song_aboutness add constraint dimension check (cardinality(emotions_vector) = 1536)",
        vector_type="real[]",
    ),
    Case(
        "vectors of different dimensions",
        FailsUnpaid("emotions_vector and moments_vector differ"),
        "alter table song_aboutness alter moments_vector type vector(16)",
    ),
    Case(
        "vectors of another type",
        FailsUnpaid("moments_vector has type sparsevec"),
        "alter table song_aboutness alter moments_vector type sparsevec(8) using null",
    ),
    Case(
        "vectors as numeric[]",
        FailsUnpaid("emotions_vector has type _numeric"),
        "alter table song_aboutness alter emotions_vector type numeric[],"
        " alter moments_vector type numeric[]",
        vector_type="real[]",
    ),
    Case(
        "vectors that must be present",
        Fills(),
        "alter table song_aboutness alter emotions_vector set not null, alter moments_vector set not null",
    ),
    Case(
        "pgvector in a schema that the search_path lacks",
        Fills(),
        "create schema extensions; alter extension vector set schema extensions; grant usage on schema "
        "extensions to {role}",
    ),
    Case(
        "pgvector in a schema that the role may not use",
        FailsUnpaid("permission denied for schema extensions"),
        "create schema extensions; alter extension vector set schema extensions",
    ),
    Case(
        "vectors with an HNSW index",
        Fills(),
        "create index on song_aboutness using hnsw (emotions_vector vector_cosine_ops)",
    ),
]
