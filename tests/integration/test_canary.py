"""A canary that finds nothing to do: every song has a row, or there is no song."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import psycopg
import pytest

from aboutness_assets.definitions import defs
from tests.support.service_database import ServiceDatabase
from tests.support.stand_in import StandIn


@pytest.fixture
def service(
    make_service: Callable[..., ServiceDatabase], stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> ServiceDatabase:
    made = make_service()
    for name, value in {
        "DATABASE_URL": made.url,
        "DAGSTER_PG_URL": made.ops_url,
        "OPENAI_BASE_URL": stand_in.base_url,
        "OPENAI_API_KEY": "sk-test",
    }.items():
        monkeypatch.setenv(name, value)
    return made


def run_canary(**config: int) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return defs.resolve_job_def("aboutness_canary").execute_in_process(
            {"ops": {"fill_spread_ranges": {"config": config}}}, instance=instance
        )


def test_a_canary_with_nothing_left_judges_the_rows_that_are_there(
    service: ServiceDatabase, stand_in: StandIn
) -> None:
    with psycopg.connect(service.admin_url) as admin:
        admin.execute("insert into songs values (1, 'A title', 'An artist')")
        admin.execute(
            "insert into song_aboutness (song_id, emotions_text, moments_text, emotions_confidence,"
            " moments_confidence, emotions_vector, moments_vector)"
            " values (1, 'e', 'm', 'low', 'high', '[1,1,1,1,1,1,1,1]', '[1,1,1,1,1,1,1,1]')"
        )
    assert run_canary().success

    with psycopg.connect(service.admin_url) as admin:
        admin.execute("update song_aboutness set emotions_text = repeat('x', 101)")
    with pytest.raises(dg.Failure, match=r"does not pass: emotions_text_within_100_chars\."):
        run_canary()
    assert stand_in.requests()["counts"]["requests"] == {}


def test_a_canary_over_an_empty_catalogue_fails_with_one_sentence(service: ServiceDatabase) -> None:
    with pytest.raises(dg.Failure, match="The catalogue is empty, so nothing was tried"):
        run_canary()


@pytest.mark.parametrize("ranges", [0, 21])
def test_a_number_of_ranges_out_of_bounds_is_refused_with_one_sentence(ranges: int) -> None:
    with pytest.raises(dg.Failure, match=r"^ranges: must be a whole number from 1 to 20\.$"):
        run_canary(ranges=ranges)
