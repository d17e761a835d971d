"""SQL conditions that a song id lies in a range. Only Postgres compares ids, as its columns do it."""

from collections.abc import Sequence

from psycopg import sql

from aboutness_assets.database.service.id_columns import CASTS
from aboutness_assets.domain.id_ranges import SongIdRange
from aboutness_assets.domain.songs import IdType, SongId


def within(song_id_ranges: Sequence[SongIdRange]) -> sql.Composed:
    """The condition that ``song_id`` lies in one of the ranges, for a query without parameters."""
    conditions = []
    for song_id_range in song_id_ranges:
        ends = [(comparison, sql.Literal(bound)) for comparison, bound in _ends(song_id_range)]
        conditions.append(_condition(sql.SQL("song_id"), song_id_range.id_type, ends))
    return sql.SQL("({})").format(sql.SQL(" or ").join(conditions))


def within_after(song_id_range: SongIdRange, after: SongId | None) -> tuple[sql.Composed, dict[str, SongId]]:
    """The condition that ``s.song_id`` lies in the range, after ``after`` if given, and its parameters."""
    ends = _ends(song_id_range, after)
    placeholders = [(comparison, sql.Placeholder(f"end_{n}")) for n, (comparison, _) in enumerate(ends)]
    parameters = {f"end_{n}": bound for n, (_, bound) in enumerate(ends)}
    return _condition(sql.SQL("s.song_id"), song_id_range.id_type, placeholders), parameters


def _ends(song_id_range: SongIdRange, after: SongId | None = None) -> list[tuple[sql.SQL, SongId]]:
    """What ``song_id`` has to be compared with; an open end is left out."""
    ends: list[tuple[sql.SQL, SongId | None]] = [
        (sql.SQL(">="), song_id_range.lower) if after is None else (sql.SQL(">"), after),
        (sql.SQL("<=") if song_id_range.id_type == "integer" else sql.SQL("<"), song_id_range.upper),
    ]
    return [(comparison, bound) for comparison, bound in ends if bound is not None]


def _condition(
    column: sql.SQL, id_type: IdType, ends: Sequence[tuple[sql.SQL, sql.Composable]]
) -> sql.Composed:
    # A range without ends must not meet the ids that an outer join left null.
    conditions = [sql.SQL("{} is not null").format(column)]
    for comparison, bound in ends:
        conditions.append(sql.SQL("{} {} {}::{}").format(column, comparison, bound, CASTS[id_type]))
    return sql.SQL(" and ").join(conditions)
