"""What every record about a range names: whose rows, which range, which run, whose money."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RangeRun:
    """One run's work on one range.

    table_id: identity of the song_aboutness that is filled. range_key: the partition key, or the name of a
    job that works on no partition (``smoke``, ``replay``). budget: the name that spending counts against.
    """

    table_id: str
    range_key: str
    run_id: str
    budget: str
