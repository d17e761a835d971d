"""Each case of the table, tried on real servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.databases.case import SONGS, Case, FailsItsSong, FailsUnpaid, Fills
from tests.databases.servers import Servers
from tests.databases.table import CASES
from tests.databases.trial import Outcome, Trial, songs_of
from tests.support.stand_in import StandIn
from tools.databases_report import row

PAGE = Path(__file__).parents[2] / "docs" / "databases.md"


@pytest.mark.thorough
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_case(
    case: Case,
    servers: Servers,
    stand_in: StandIn,
    database_result: Callable[..., Any],
    request: pytest.FixtureRequest,
) -> None:
    outcome = await Trial(case, servers.create(case, songs_of(case)), stand_in).outcome()
    check(case, outcome)
    printed = outcome.printed
    database_result(case=case.name, printed=printed)
    if not request.config.getoption("--database-results"):
        assert row(case, printed) in PAGE.read_text("utf-8").splitlines(), "run make databases"


def check(case: Case, outcome: Outcome) -> None:
    """Compare what became of a case with what the table expects."""
    assert not outcome.changed_by_preflight
    match case.expect:
        case FailsUnpaid(says, embedding_requests):
            assert says in outcome.error
            assert says in outcome.preflight_fails or embedding_requests
            assert (outcome.rows_written, outcome.chat_requests, outcome.max_usd) == (0, 0, 0)
            assert outcome.embedding_requests <= embedding_requests
        case Fills(says):
            assert (outcome.preflight_fails, outcome.error, outcome.failed) == ("", "", {})
            assert outcome.rows_written == SONGS - case.rows_before
            assert outcome.criteria_that_fail == []
            assert outcome.asked_again == 0
            assert says in outcome.preflight_notes
        case FailsItsSong(song_id, says, preflight_says, asked_again):
            assert (outcome.preflight_fails, outcome.error) == ("", "")
            assert list(outcome.failed) == [song_id]
            assert says in outcome.failed[song_id]
            assert outcome.rows_written == SONGS - 1
            assert outcome.criteria_that_fail == ["no_failed_songs"]
            assert outcome.asked_again == asked_again
            assert preflight_says in outcome.preflight_notes
