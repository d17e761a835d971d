"""The text criteria as SQL, on a real Postgres."""

from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import AsyncConnection

from aboutness_assets.database.service.range_conditions import within
from aboutness_assets.database.service.text_criteria import (
    EXAMPLES,
    TEXT_CRITERIA,
    TextCounts,
    count_violations,
    heap_bytes,
)
from aboutness_assets.domain.id_ranges import SongIdRange
from tests.support.service_database import ServiceDatabase

ROLLOUT = datetime(2026, 2, 20, tzinfo=UTC)
NEW, OLD = "2026-02-20T00:00:00Z", "2026-02-19T23:59:59Z"

MakeService = Callable[..., ServiceDatabase]


@pytest.fixture
def service(make_service: MakeService) -> ServiceDatabase:
    return make_service()


def write(service: ServiceDatabase, *rows: tuple[int, str, str, str]) -> None:
    """Rows of (song_id, emotions_text, moments_text, created_at)."""
    with psycopg.connect(service.admin_url) as admin, admin.cursor() as cursor:
        cursor.executemany(
            "insert into song_aboutness (song_id, emotions_text, moments_text, created_at)"
            " values (%s, %s, %s, %s)",
            rows,
        )


async def counted(service: ServiceDatabase, song_id_range: SongIdRange | None = None) -> TextCounts:
    async with await AsyncConnection.connect(service.url) as connection:
        if song_id_range is None:
            return await count_violations(connection, ROLLOUT)
        return await count_violations(connection, ROLLOUT, within([song_id_range]))


async def test_an_empty_table_violates_nothing(service: ServiceDatabase) -> None:
    assert await counted(service) == TextCounts(0, dict.fromkeys(TEXT_CRITERIA, 0), {})


async def test_one_hundred_characters_are_allowed_whatever_their_bytes(service: ServiceDatabase) -> None:
    write(service, (1, "x" * 100, "🎵" * 100, NEW), (2, "x" * 101, "fine", NEW), (3, "fine", "é" * 101, NEW))

    counts = await counted(service)

    assert counts.violations == {
        "emotions_text_within_100_chars": 1,
        "moments_text_within_100_chars": 1,
        "emotions_text_without_confidence_tag": 0,
        "moments_text_without_confidence_tag": 0,
    }
    assert counts.examples == {
        "emotions_text_within_100_chars": ["2"],
        "moments_text_within_100_chars": ["3"],
    }


@pytest.mark.parametrize(
    ("text", "violates"),
    [
        ("joy [confidence: high]", True),
        ("joy [CONFIDENCE:low]", True),
        ("[Confidence: medium] joy", True),
        ("joy, confidence: high", False),
        ("confidence", False),
    ],
)
async def test_a_confidence_tag_in_any_case_violates(
    service: ServiceDatabase, text: str, violates: bool
) -> None:
    write(service, (1, text, "fine", NEW), (2, "fine", text, NEW))

    counts = await counted(service)

    tags = {name: count for name, count in counts.violations.items() if name.endswith("tag")}
    assert tags == dict.fromkeys(tags, int(violates))
    assert len(tags) == 2


async def test_old_style_rows_are_left_out(service: ServiceDatabase) -> None:
    write(service, (1, "x" * 500, "joy [confidence: high]", OLD), (2, "fine", "fine", NEW))

    counts = await counted(service)

    assert counts.new_rows == 1
    assert counts.violations == dict.fromkeys(TEXT_CRITERIA, 0)


async def test_a_range_is_looked_at_alone(service: ServiceDatabase) -> None:
    write(service, *((number, "x" * 101, "fine", NEW) for number in range(1, 31)))

    counts = await counted(service, SongIdRange("integer", 11, 20))

    assert counts.new_rows == counts.violations["emotions_text_within_100_chars"] == 10
    assert set(counts.examples["emotions_text_within_100_chars"]) == {str(n) for n in range(11, 21)}


async def test_only_a_few_examples_are_shown(service: ServiceDatabase) -> None:
    write(service, *((number, "x" * 101, "fine", NEW) for number in range(60)))

    counts = await counted(service)

    assert counts.violations["emotions_text_within_100_chars"] == 60
    assert len(counts.examples["emotions_text_within_100_chars"]) == EXAMPLES


async def test_the_heap_grows_with_the_rows(service: ServiceDatabase) -> None:
    async with await AsyncConnection.connect(service.url) as connection:
        empty = await heap_bytes(connection)
        write(service, *((number, "x" * 90, "y" * 90, NEW) for number in range(500)))

        assert empty == 0 < await heap_bytes(connection)
