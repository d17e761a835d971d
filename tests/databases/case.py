"""What a case of the table is: a database as somebody has it, and what the project is to do with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

SONGS = 12
"""Songs of a case; packs of four make three chat requests of them."""

PACK_SIZE = 4

Server: TypeAlias = Literal[
    "PostgreSQL 18 with pgvector",
    "PostgreSQL 15 with ICU collations",
    "a hot standby",
    "a standby that is promoted while a run writes",
]
Pooler: TypeAlias = Literal["", "PgBouncer in transaction mode", "PgBouncer in session mode"]

EMBEDDED: Server = "PostgreSQL 18 with pgvector"
DEBIAN: Server = "PostgreSQL 15 with ICU collations"
STANDBY: Server = "a hot standby"
FAILOVER: Server = "a standby that is promoted while a run writes"
TRANSACTION: Pooler = "PgBouncer in transaction mode"
SESSION: Pooler = "PgBouncer in session mode"


@dataclass(frozen=True)
class Fills:
    """Every song gets its row, all criteria hold, a second run asks for nothing.

    says: words of what the preflight tells or warns of.
    """

    says: str = ""


@dataclass(frozen=True)
class FailsUnpaid:
    """The preflight fails and so does a run, before it asks for a text; both say these words.

    embedding_requests: how many the run must send before it knows; the preflight, which sends none, cannot.
    """

    says: str
    embedding_requests: int = 0


@dataclass(frozen=True)
class FailsItsSong:
    """This song fails with these words; all others get their rows.

    preflight_says: words of what the preflight warns of. asked_again: whether the next run asks for other
    texts, until the song is in quarantine.
    """

    song_id: str
    says: str
    preflight_says: str = ""
    asked_again: bool = False


Expectation: TypeAlias = Fills | FailsUnpaid | FailsItsSong


@dataclass(frozen=True)
class Case:
    """A database that differs from the contract's, and what is to happen.

    arrange: what its administrator did to the contract's tables, in SQL; {database} and {role} are names.
    parameters, own_parameters: the query of DATABASE_URL and of DAGSTER_PG_URL.
    through, own_through: what stands before either. further_songs: title and artist of the last ones.
    rows_in: the table that holds the rows, of which rows_before are there. refused_parameters: what the
    endpoint refuses.
    """

    name: str
    expect: Expectation
    arrange: str = ""
    id_type: str = "integer"
    ids: Callable[[int], int | str] = int
    vector_type: str = "vector(8)"
    server: Server = EMBEDDED
    encoding: str = "UTF8"
    parameters: str = ""
    own_parameters: str = ""
    through: Pooler = ""
    own_through: Pooler = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    further_songs: Sequence[tuple[str, str]] = ()
    rows_in: str = "public.song_aboutness"
    rows_before: int = 0
    refused_parameters: Sequence[str] = ()
