"""``dagster job execute -j aboutness_preflight``: its table, its exit code, and that it leaves no trace."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.catalogue_of_songs import BEFORE_ROLLOUT, real_songs, write_row
from tests.support.dagster_project import DagsterProject
from tests.support.database_contents import contents
from tests.support.stand_in import StandIn

MakeProject = Callable[..., DagsterProject]


def table(output: str) -> dict[str, tuple[str, str]]:
    """What was found and whether it passed, by the name of the check."""
    lines = [line.split(" | ") for line in output.splitlines()]
    return {
        cells[0].strip(): (cells[1].strip(), cells[2].strip())
        for cells in lines
        if len(cells) > 2 and cells[2].strip() in ("yes", "NO", "warn", "-")
    }


def test_everything_is_there(make_project: MakeProject, stand_in: StandIn) -> None:
    project = make_project(real_songs(60), ABOUTNESS_MAX_USD="1")
    write_row(project, 1, "an old text", BEFORE_ROLLOUT)
    project.must("aboutness_preflight")  # creates our own schema, and Dagster's
    before = contents(project.service.admin_url, "public"), contents(project.service.ops_url, "aboutness_ops")

    found = table(project.must("aboutness_preflight"))

    assert {name: passed for name, (_, passed) in found.items() if passed != "-"} == dict.fromkeys(
        [
            *("DATABASE_URL", "song_aboutness", "songs", "DAGSTER_PG_URL", "provider"),
            *("server", "encoding", "rights", "row-level security", "pooler", "insert (rolled back)"),
            *("endpoint", "chat model", "embedding model"),
            *("price of stand-in-writer", "price of stand-in-wordllama", "budget 'default'", "songs left"),
        ],
        "yes",
    )
    assert found["songs left"][0] == "59 without a row, counted"
    assert found["disk"][0].startswith("about 0.0 MB for these rows (383 bytes each)")
    assert "pretend price of the tests" in found["price of stand-in-writer"][0]
    assert found["budget 'default'"][0].endswith("of ABOUTNESS_MAX_USD = 1")
    assert found["estimate: chat requests"][0] == "6 (6 to 6)"
    assert "at a pretend price" in found["estimate: dollars, standard"][0]
    assert found["estimate: estimated from"][0].startswith("the words of the requests")
    assert before == (
        contents(project.service.admin_url, "public"),
        contents(project.service.ops_url, "aboutness_ops"),
    )
    assert stand_in.requests()["counts"]["requests"] == {}

    project.must("aboutness_smoke")
    found = table(project.must("aboutness_preflight"))
    assert found["songs left"][0] == "9 without a row, counted"
    assert found["estimate: estimated from"][0].startswith("what 5 requests")


def test_a_wrong_database_is_a_line_of_the_table(make_project: MakeProject, stand_in: StandIn) -> None:
    finished = make_project(real_songs(5)).execute(
        "aboutness_preflight", DATABASE_URL="postgresql://nobody:nothing@127.0.0.1:1/none"
    )
    found = table(finished.output)
    assert finished.exit_code != 0
    assert {name for name, (_, passed) in found.items() if passed == "NO"} == {"DATABASE_URL", "songs left"}
    assert "The service's Postgres (DATABASE_URL) cannot be used" in found["DATABASE_URL"][0]
    assert found["DAGSTER_PG_URL"][1] == found["provider"][1] == "yes"
    assert "The preflight does not pass: DATABASE_URL, songs left." in finished.output
    assert "psycopg" not in finished.output


def test_a_table_that_is_not_as_agreed_and_a_missing_key_are_lines_of_the_table(
    make_project: MakeProject,
) -> None:
    project = make_project(real_songs(5))
    project.sql("set local event_triggers = off; revoke insert on song_aboutness from music_service")
    finished = project.execute("aboutness_preflight", without="OPENAI_API_KEY")
    found = table(finished.output)
    assert finished.exit_code != 0
    assert {name for name, (_, passed) in found.items() if passed == "NO"} == {
        "song_aboutness",
        "provider",
        "songs left",
    }
    assert "the role has no INSERT on" in found["song_aboutness"][0]
    assert found["provider"][0].startswith("OPENAI_API_KEY is not set.")


def test_an_unknown_price_fails_where_there_is_a_cap(make_project: MakeProject) -> None:
    project = make_project(real_songs(5), ABOUTNESS_CHAT_PRICE="")
    finished = project.execute("aboutness_preflight", ABOUTNESS_MAX_USD="1")
    found = table(finished.output)
    assert finished.exit_code != 0
    assert [name for name, (_, passed) in found.items() if passed == "NO"] == ["price of stand-in-writer"]
    assert "Set ABOUTNESS_CHAT_PRICE." in finished.output
    assert found["estimate: dollars, standard"] == ("unknown: set ABOUTNESS_CHAT_PRICE", "-")

    assert table(project.must("aboutness_preflight"))["price of stand-in-writer"][1] == "warn"


def test_a_budget_that_is_spent_fails(make_project: MakeProject) -> None:
    project = make_project(real_songs(60))
    project.must("aboutness_smoke")
    finished = project.execute("aboutness_preflight", ABOUTNESS_MAX_USD="0.000001")
    assert finished.exit_code != 0
    assert table(finished.output)["budget 'default'"][1] == "NO"
