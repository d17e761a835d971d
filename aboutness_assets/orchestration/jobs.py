"""The jobs: lay ranges, fill them, try it on a few songs, hold the criteria."""

import os
from typing import get_args

import dagster as dg
from pydantic import Field

from aboutness_assets.acceptance.verdicts import acceptance_table
from aboutness_assets.domain.songs import Cause
from aboutness_assets.orchestration.assets import (
    SONG_ID_RANGES,
    create_missing_partitions,
    run_of,
    song_aboutness,
)
from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.checks import FAIL_RUN_TAG
from aboutness_assets.orchestration.metadata import materialization_metadata
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.pipeline.runs import replay_failed, smoke


@dg.op
def create_song_id_range_partitions(context: dg.OpExecutionContext, settings: SettingsResource) -> None:
    """Add a partition for every range of song_id that holds songs and has none."""
    if not (os.environ.get("DAGSTER_HOME") or context.instance.is_ephemeral):
        # Dagster's commands then make an instance in a temporary directory and delete it when they end.
        raise dg.Failure(
            "DAGSTER_HOME is not set, so the ranges would be forgotten at once. "
            "Set it to the absolute path of the directory that holds dagster.yaml.",
            allow_retries=False,
        )
    new = run_until_interrupted(create_missing_partitions(context.instance, settings.load(), context.log))
    ranges = len(context.instance.get_dynamic_partitions(SONG_ID_RANGES))
    context.log.info("%d ranges added; there are %d.", len(new), ranges)
    context.add_output_metadata({"ranges_added": len(new), "ranges": ranges})


@dg.job
def sync_song_id_ranges() -> None:
    """Add partitions for songs that lie in none; existing ones are never changed or removed."""
    create_song_id_range_partitions()


@dg.op
def write_first_songs(context: dg.OpExecutionContext, settings: SettingsResource) -> None:
    """Write rows for the first 50 songs that have none, and hold them against the criteria."""
    in_force = settings.load()
    result = run_until_interrupted(smoke(in_force, run_of(context.run), context.log))
    context.log.info("Acceptance table\n%s", acceptance_table(result.criteria))
    context.add_output_metadata(
        materialization_metadata(result.report, in_force.chat_model, in_force.embedding_model)
    )
    if not result.passed:
        failed = ", ".join(criterion.name for criterion in result.criteria if not criterion.passed)
        raise dg.Failure(f"The smoke run does not pass: {failed}.", allow_retries=False)


@dg.job
def aboutness_smoke() -> None:
    """Write the first 50 songs without a row through the batch path and print the acceptance table."""
    write_first_songs()


class ReplayConfig(dg.Config):
    """Which failed songs to try again; left as it is: all of them."""

    cause: str | None = Field(
        default=None, description=f"Only songs that failed by this cause: {', '.join(get_args(Cause))}."
    )
    song_ids: list[str] = Field(default_factory=list, description="Only these songs.")


@dg.op
def replay_songs(context: dg.OpExecutionContext, config: ReplayConfig, settings: SettingsResource) -> None:
    """Try failed songs again, quarantined ones too; answers that failed them are read again first."""
    if config.cause is not None and config.cause not in get_args(Cause):
        raise dg.Failure(
            f"No cause is called {config.cause!r}. Leave it empty or take one of these: "
            f"{', '.join(get_args(Cause))}.",
            allow_retries=False,
        )
    in_force = settings.load()
    report = run_until_interrupted(
        replay_failed(
            in_force, run_of(context.run), context.log, cause=config.cause, song_ids=config.song_ids
        )
    )
    context.add_output_metadata(
        materialization_metadata(report, in_force.chat_model, in_force.embedding_model)
    )


@dg.job
def replay_failed_songs() -> None:
    """Try songs again that failed: all, those of one cause, or chosen ones (see the op's config)."""
    replay_songs()


song_aboutness_backfill = dg.define_asset_job(
    "song_aboutness_backfill",
    selection=dg.AssetSelection.assets(song_aboutness),
    description="Fill one range (or, as a backfill, all of them), then run the checks.",
)

aboutness_checks = dg.define_asset_job(
    "aboutness_checks",
    selection=dg.AssetSelection.checks_for_assets(song_aboutness),
    tags={FAIL_RUN_TAG: "true"},
    description="Hold the whole table against every criterion; fails where a check of severity ERROR does.",
)
