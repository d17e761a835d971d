"""Cases of encodings and of what stands between this project and Postgres."""

from tests.databases.case import DEBIAN, SESSION, TRANSACTION, Case, FailsItsSong, FailsUnpaid, Fills
from tests.databases.tables import IN_SCHEMA_MUSIC

ENCODINGS = [
    Case("a database in LATIN1", Fills(), encoding="LATIN1", further_songs=[("Déjà vu", "Beyoncé")]),
    Case(
        "a database in SQL_ASCII",
        Fills(),
        encoding="SQL_ASCII",
        further_songs=[("愛", "ももいろ"), ("Déjà vu", "Beyoncé")],
    ),
    Case(
        "a database whose encoding lacks a letter of one text",
        FailsItsSong("12", 'no equivalent in encoding "KOI8R"', "encoding", asked_again=True),
        encoding="KOI8R",
        further_songs=[("Under the Bridges of Paris", "Cafe")],
    ),
    Case("PostgreSQL 15", Fills(), vector_type="real[]", server=DEBIAN),
]

POOLERS = [
    Case(
        "a transaction pooler, and ?pgbouncer=true",
        Fills(),
        through=TRANSACTION,
        parameters="?pgbouncer=true",
    ),
    Case("a transaction pooler that the URL does not mention", Fills(), through=TRANSACTION),
    Case(
        "a transaction pooler and a schema that the URL names",
        Fills(),
        IN_SCHEMA_MUSIC,
        through=TRANSACTION,
        parameters="?schema=music",
        rows_in="music.song_aboutness",
    ),
    Case("a session pooler", Fills(), through=SESSION),
    Case(
        "a transaction pooler before our own Postgres",
        FailsUnpaid("transaction pooler"),
        own_through=TRANSACTION,
    ),
    Case("a session pooler before our own Postgres", Fills(), own_through=SESSION),
    Case(
        "Prisma's parameters in DAGSTER_PG_URL",
        Fills(),
        own_parameters="?schema=public&connection_limit=1&pool_timeout=20",
    ),
]
