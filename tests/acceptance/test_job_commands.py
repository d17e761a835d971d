"""``dagster job execute`` as a person or a timer calls it: exit codes, output, rows and metadata."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.catalogue_of_songs import BEFORE_ROLLOUT, real_songs, write_row
from tests.support.dagster_project import CHECKS, JOB_SECONDS, DagsterProject, poll
from tests.support.stand_in import StandIn

MakeProject = Callable[..., DagsterProject]

NUMBERS_OF_A_MATERIALIZATION = (
    "songs_in_range",
    "songs_written",
    "songs_skipped_existing",
    "songs_failed",
    "batch_requests",
    "single_song_requests",
    "embedding_requests",
    "prompt_tokens",
    "completion_tokens",
    "embedding_tokens",
    "cost_usd",
    "songs_per_second",
)
"""CONTRACT: Dagster."""

OLD_STYLE_TEXT = "an old text [confidence: high]"


def songs_of_chat_requests(stand_in: StandIn) -> list[int]:
    """How many songs each chat request contained."""
    return [
        len(request["songs"]) for request in stand_in.requests()["requests"] if request["route"] == "chat"
    ]


def acceptance_table(output: str) -> dict[str, str]:
    """The verdict of each criterion of the printed table."""
    lines = [line.split(" | ") for line in output.splitlines() if line.endswith(("| yes", "| NO"))]
    return {cells[0].strip(): cells[-1].strip() for cells in lines}


def valid_rows(project: DagsterProject) -> int:
    """Rows with both vectors and texts within the criteria."""
    return int(
        project.sql(
            "select count(*) from song_aboutness where emotions_vector is not null"
            " and moments_vector is not null and char_length(emotions_text) between 1 and 100"
            " and char_length(moments_text) between 1 and 100"
            " and emotions_text || moments_text not ilike '%%[confidence:%%'"
        )[0][0]
    )


def test_syncing_creates_padded_partitions_then_nothing_then_what_new_songs_need(
    make_project: MakeProject,
) -> None:
    project = make_project(real_songs(1001))
    project.must("sync_song_id_ranges")
    assert project.ranges() == ["000000001-000001000", "000001001-000002000"]
    assert "0 partitions added" in project.must("sync_song_id_ranges")
    project.sql("insert into songs values (5000, 'Later', 'Someone'), (-3, 'Earlier', 'Someone')")
    project.must("sync_song_id_ranges", ABOUTNESS_RANGE_SIZE="7")
    assert set(project.ranges()) == {
        "-000000999-000000000",
        "000000001-000001000",
        "000001001-000002000",
        "000004001-000005000",
    }


@pytest.mark.parametrize(
    ("id_type", "ids"),
    [
        ("text", [f"cm{number:04x},é…{number}" for number in range(25)]),
        ("uuid", [f"{number:08x}-0000-4000-8000-000000000000" for number in range(25)]),
    ],
)
def test_partitions_of_text_and_uuid_ids_are_created_and_filled(
    make_project: MakeProject, id_type: str, ids: list[str]
) -> None:
    project = make_project(real_songs(25, ids), id_type=id_type, ABOUTNESS_RANGE_SIZE="10")
    project.must("sync_song_id_ranges")
    ranges = project.ranges()
    assert len(ranges) == 3
    assert not [key for key in ranges if "," in key or "..." in key]
    project.must("song_aboutness_backfill", partition=ranges[1])
    written = [row[0] for row in project.sql("select song_id::text from song_aboutness order by 1")]
    assert written == ids[10:20]


def test_the_smoke_run_asks_five_times_for_fifty_songs_and_prints_the_acceptance_table(
    make_project: MakeProject, stand_in: StandIn
) -> None:
    project = make_project(real_songs(60))
    write_row(project, 1, OLD_STYLE_TEXT, BEFORE_ROLLOUT)
    table = acceptance_table(project.must("aboutness_smoke"))
    assert table == dict.fromkeys(["every song has a row", "batch path used", *CHECKS[:-1]], "yes")
    assert songs_of_chat_requests(stand_in) == [10] * 5
    assert project.sql("select count(*), min(song_id), max(song_id) from song_aboutness") == [(51, 1, 51)]

    project.sql("update song_aboutness set emotions_text = 'changed' where song_id = 1")
    finished = project.execute("aboutness_smoke")
    assert finished.exit_code != 0
    assert acceptance_table(finished.output) == {**table, "old_style_rows_untouched": "NO"}
    assert "The smoke run does not pass: old_style_rows_untouched." in finished.output


def test_a_smoke_run_with_a_song_that_gets_no_row_exits_non_zero_and_says_so(
    make_project: MakeProject, stand_in: StandIn
) -> None:
    project = make_project([*real_songs(19), (20, "Poisoned Well", "Nobody")])
    stand_in.control({"poison": {"Poisoned Well": "http_400"}})
    finished = project.execute("aboutness_smoke")
    assert finished.exit_code != 0
    assert "The smoke run does not pass: every song has a row." in finished.output
    assert "Song 20 failed (refused)" in finished.output
    assert valid_rows(project) == 19


def test_the_canary_fills_ranges_over_the_whole_catalogue_and_projects_the_rest(
    make_project: MakeProject, stand_in: StandIn
) -> None:
    project = make_project(real_songs(70), ABOUTNESS_RANGE_SIZE="10", ABOUTNESS_PACK_SIZE="2")
    output = project.must("aboutness_canary")
    verdicts = acceptance_table(output)
    assert verdicts == dict.fromkeys(
        ["rows written", "failed songs", "batch path used", *CHECKS[:-1], "songs left", "budget 'default'"],
        "yes",
    )
    assert "40 without a row, counted" in output
    assert "what 15 requests with this prompt and model were billed" in output
    assert {key: one["songs_written"] for key, one in project.materializations().items()} == {
        "000000011-000000020": 10,
        "000000031-000000040": 10,
        "000000051-000000060": 10,
    }
    assert valid_rows(project) == 30
    assert len(project.ranges()) == 7
    assert project.checks() == {**dict.fromkeys(CHECKS, True), "ready_to_enable": False}
    assert "shortest text: " in output

    project.sql("update song_aboutness set moments_text = 'at night [confidence: low]' where song_id = 11")
    config = {"ops": {"fill_spread_ranges": {"config": {"ranges": 1}}}}
    finished = project.execute("aboutness_canary", config=config)
    assert finished.exit_code != 0
    assert "The canary does not pass: moments_text_without_confidence_tag." in finished.output
    assert valid_rows(project) == 39


def test_a_backfill_of_one_range_writes_all_rows_and_a_second_one_asks_nothing(
    make_project: MakeProject, stand_in: StandIn
) -> None:
    project = make_project(real_songs(45), ABOUTNESS_RANGE_SIZE="40")
    write_row(project, 7, OLD_STYLE_TEXT, BEFORE_ROLLOUT)
    old_style_row = project.sql("select * from song_aboutness")
    first, second = project.add_partitions("000000001-000000040", "000000041-000000080")
    project.must("song_aboutness_backfill", partition=first)
    assert valid_rows(project) == 39
    metadata = project.materializations()[first]
    numbers = {name: metadata[name] for name in NUMBERS_OF_A_MATERIALIZATION}
    assert all(type(value) in (int, float) for value in numbers.values()), numbers
    assert (
        numbers.items()
        >= {
            "songs_in_range": 40,
            "songs_written": 39,
            "songs_skipped_existing": 1,
            "songs_failed": 0,
            "batch_requests": 4,
        }.items()
    )
    assert min(metadata["prompt_tokens"], metadata["completion_tokens"], metadata["embedding_tokens"]) > 0
    assert metadata["details"]["texts_by"] == "stand-in-writer"
    assert metadata["dagster/partition_row_count"] == 40
    types = {column.name: column.type for column in metadata["dagster/column_schema"].columns}
    assert (types["song_id"], types["emotions_vector"]) == ("integer", "vector(8)")
    assert project.observed_rows() == {"songs": 45, "song_aboutness": 40}

    rows = project.sql("select * from song_aboutness order by song_id")
    stand_in.reset()
    project.must("song_aboutness_backfill", partition=first)
    assert stand_in.requests()["counts"]["requests"] == {}
    assert project.sql("select * from song_aboutness order by song_id") == rows
    assert project.sql("select * from song_aboutness where song_id = 7") == old_style_row
    again = project.materializations()[first]
    assert (again["songs_written"], again["songs_skipped_existing"]) == (0, 40)
    assert second not in project.materializations()


def test_a_run_over_several_ranges_materializes_each_with_its_own_numbers(
    make_project: MakeProject, stand_in: StandIn
) -> None:
    project = make_project([*real_songs(34), (35, "Poisoned Well", "Nobody")])
    keys = project.add_partitions(*(f"{start:09d}-{start + 9:09d}" for start in (1, 11, 21, 31, 41)))
    stand_in.control({"poison": {"Poisoned Well": "refusal"}})
    output = project.must("song_aboutness_backfill", partitions=(keys[1], keys[3]))
    assert {key: output.count(f"{key}: ") for key in keys[1:3]} == dict.fromkeys(keys[1:3], 1)
    assert sorted(project.materialized_partitions()) == [*keys[1:4]]
    materialized = project.materializations()
    assert {key: (one["songs_written"], one["songs_failed"]) for key, one in materialized.items()} == {
        keys[1]: (10, 0),
        keys[2]: (10, 0),
        keys[3]: (4, 1),
    }
    assert "| 35 | refused | " in materialized[keys[3]]["failed_songs"]
    assert all(materialized[key].keys() >= set(NUMBERS_OF_A_MATERIALIZATION) for key in keys[1:4])
    assert valid_rows(project) == 24

    stand_in.reset()
    project.must("song_aboutness_backfill", partitions=(keys[0], keys[4]))
    written = {key: one["songs_written"] for key, one in project.materializations().items()}
    assert written == {keys[0]: 10, keys[1]: 0, keys[2]: 0, keys[3]: 1, keys[4]: 0}
    assert sum(songs_of_chat_requests(stand_in)) == 11


def test_a_range_that_was_done_counts_although_its_run_fails_later(
    make_project: MakeProject, stand_in: StandIn
) -> None:
    project = make_project(real_songs(30), ABOUTNESS_REQUEST_TIMEOUT="5")
    keys = project.add_partitions(*(f"{start:09d}-{start + 9:09d}" for start in (1, 11, 21)))
    # One range gets its answer; the others wait until their requests time out and then meet a wrong key.
    stand_in.control({"chat": {"script": [None, *["hang"] * 20]}})
    with ThreadPoolExecutor() as thread:
        run = thread.submit(project.execute, "song_aboutness_backfill", partitions=(keys[0], keys[2]))
        poll(project.materializations, JOB_SECONDS, "one range to be materialized")
        stand_in.control({"chat": {"probabilities": {"http_401": 1}}})
    assert run.result().exit_code != 0
    [done] = project.materializations().values()
    assert done["songs_written"] == 10
    assert valid_rows(project) == 10


def test_a_run_continues_while_the_event_log_takes_no_writes(
    make_project: MakeProject, stand_in: StandIn
) -> None:
    # More ranges than are worked on at once: the last ones start only after others were logged as done.
    project = make_project(real_songs(40), ABOUTNESS_REQUEST_TIMEOUT="3")
    keys = project.add_partitions(*(f"{song_id:09d}-{song_id:09d}" for song_id in range(1, 41)))
    stand_in.control({"chat": {"probabilities": {"hang": 1}}})
    with ThreadPoolExecutor() as thread:
        run = thread.submit(project.execute, "song_aboutness_backfill", partitions=(keys[0], keys[-1]))
        poll(lambda: songs_of_chat_requests(stand_in), JOB_SECONDS, "the first request")
        with project.event_log_locked():
            stand_in.control({})
            poll(lambda: valid_rows(project) == 40, JOB_SECONDS, "all rows")
            assert project.materializations() == {}
    assert run.result().exit_code == 0, run.result().output
    written = {key: one["songs_written"] for key, one in project.materializations().items()}
    assert written == dict.fromkeys(keys, 1)


@pytest.mark.parametrize("given", ["0", "many"])
def test_an_invalid_number_of_partitions_per_run_gives_one_clear_sentence(
    make_project: MakeProject, given: str
) -> None:
    finished = make_project(real_songs(5)).execute("aboutness_smoke", ABOUTNESS_PARTITIONS_PER_RUN=given)
    assert finished.exit_code != 0
    assert "ABOUTNESS_PARTITIONS_PER_RUN: must be a whole number above 0." in finished.output


def test_checks_see_every_violation_and_no_later_range_hides_one(make_project: MakeProject) -> None:
    project = make_project(real_songs(30), ABOUTNESS_RANGE_SIZE="10")
    for song_id in (9, 10):
        write_row(project, song_id, OLD_STYLE_TEXT, BEFORE_ROLLOUT)
    first, second, third = project.add_partitions(
        "000000001-000000010", "000000011-000000020", "000000021-000000030"
    )
    project.must("song_aboutness_backfill", partition=first)
    project.must("aboutness_checks")
    assert project.checks() == {**dict.fromkeys(CHECKS, True), "ready_to_enable": False}
    project.must("song_aboutness_backfill", partition=second)
    assert project.checks() == dict.fromkeys(CHECKS, True)

    project.sql("update song_aboutness set emotions_text = repeat('é', 101) where song_id = 1")
    project.sql("update song_aboutness set moments_text = 'at night [CONFIDENCE: low]' where song_id = 2")
    project.sql("update song_aboutness set moments_text = 'changed' where song_id = 9")
    project.sql("delete from song_aboutness where song_id = 10")
    violated = {
        **dict.fromkeys(CHECKS, True),
        "emotions_text_within_100_chars": False,
        "moments_text_without_confidence_tag": False,
        "old_style_rows_untouched": False,
        "ready_to_enable": False,
    }
    project.must("song_aboutness_backfill", partition=third)
    assert project.checks() == violated
    finished = project.execute("aboutness_checks")
    assert finished.exit_code != 0
    assert (
        "These checks failed: emotions_text_within_100_chars, moments_text_without_confidence_tag, "
        "old_style_rows_untouched." in finished.output
    )
    assert "Of 2 old-style rows on record 1 changed and 1 are gone; 0 rows" in finished.output
    assert project.checks() == violated


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({}, "song_id_ranges"),
        ({"partition": "000000001-000000010"}, "does not exist in song_id_ranges"),
        ({"partitions": ("000000001-000000010", "000000011-000000020")}, "Nonexistent partition keys"),
    ],
    ids=["none", "one", "several"],
)
def test_a_partition_that_does_not_exist_costs_nothing_and_gives_one_clear_sentence(
    make_project: MakeProject, stand_in: StandIn, missing: dict[str, Any], words: str
) -> None:
    project = make_project(real_songs(5))
    finished = project.execute("song_aboutness_backfill", **missing)
    assert finished.exit_code != 0
    assert words in finished.output
    assert stand_in.requests()["counts"]["requests"] == {}


@pytest.mark.parametrize("name", ["DATABASE_URL", "DAGSTER_PG_URL", "OPENAI_API_KEY"])
def test_a_missing_setting_is_named_together_with_aboutness_local(
    make_project: MakeProject, stand_in: StandIn, name: str
) -> None:
    project = make_project(real_songs(5))
    finished = project.execute("aboutness_smoke", without=name)
    assert finished.exit_code != 0
    assert f"{name} is not set." in finished.output
    assert "aboutness-local" in finished.output
    assert stand_in.requests()["counts"]["requests"] == {}


def test_checks_of_a_large_table_look_at_the_new_range_and_at_what_is_known_to_be_wrong(
    make_project: MakeProject,
) -> None:
    from aboutness_assets.definitions import defs

    project = make_project(real_songs(30))
    project.sql(
        "insert into song_aboutness (song_id, emotions_text, moments_text, emotions_confidence,"
        " moments_confidence, emotions_vector, moments_vector)"
        " select song_id, repeat('e', 90), repeat('m', 90), 'low', 'high', '[1,1,1,1,1,1,1,1]',"
        " '[1,1,1,1,1,1,1,1]' from generate_series(1001, 40000) song_id"
    )
    ranges = project.add_partitions(*(f"{start:09d}-{start + 9:09d}" for start in (1, 11, 21)))
    job = defs.resolve_job_def("song_aboutness_backfill")

    def looked_at(range_key: str) -> tuple[object, bool]:
        with project.instance() as instance:
            result = job.execute_in_process(instance=instance, partition_key=range_key)
        checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
        check = checks["emotions_text_within_100_chars"]
        return str(check.metadata["looked_at"].value).split(";")[0], check.passed

    assert looked_at(ranges[0]) == ("the whole table, 39010 rows", True)
    assert looked_at(ranges[1]) == ("10 rows of 1 ranges", True)
    # aboutness_checks sees a row that became bad; from then on no partial look hides it.
    project.sql("update song_aboutness set emotions_text = repeat('x', 101) where song_id = 1")
    assert project.execute("aboutness_checks").exit_code != 0
    assert looked_at(ranges[2]) == ("10 rows of 1 ranges", False)


def test_run_config_overrides_a_setting_for_one_run(make_project: MakeProject, stand_in: StandIn) -> None:
    project = make_project(real_songs(20))
    config: dict[str, Any] = {"resources": {"settings": {"config": {"pack_size": 5, "max_in_flight": 1}}}}
    project.must("aboutness_smoke", config=config)
    assert songs_of_chat_requests(stand_in) == [5] * 4


def test_syncing_without_dagster_home_says_that_the_ranges_would_be_forgotten(
    make_project: MakeProject,
) -> None:
    finished = make_project(real_songs(5)).execute("sync_song_id_ranges", without="DAGSTER_HOME")
    assert finished.exit_code != 0
    assert "DAGSTER_HOME is not set" in finished.output


def test_settings_may_be_in_a_dotenv_file(make_project: MakeProject) -> None:
    project = make_project(real_songs(5))
    names = ("DATABASE_URL", "DAGSTER_PG_URL")
    Path(project.home / ".env").write_text("".join(f"{name}={project.environment[name]}\n" for name in names))
    wrong = "postgresql://nobody:nothing@127.0.0.1:1/none"
    project.must("sync_song_id_ranges", DATABASE_URL=wrong, DAGSTER_PG_URL=wrong)
    assert project.ranges() == ["000000001-000001000"]
