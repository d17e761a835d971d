"""The jobs: create partitions, fill them, try it on a few songs, replay failed songs, check, forget."""

from typing import get_args

import dagster as dg
from pydantic import Field

from aboutness_assets.acceptance.evaluate import evaluate_smoke_run
from aboutness_assets.acceptance.smoke import SmokeLine, acceptance_table
from aboutness_assets.database.operations.capability_store import forget_capabilities as forget_all
from aboutness_assets.domain.songs import Cause
from aboutness_assets.orchestration.assets import song_aboutness
from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.checks import FAIL_RUN_TAG
from aboutness_assets.orchestration.event_log import EventLogWriter
from aboutness_assets.orchestration.launchpad_types import OptionalText, SongIdText
from aboutness_assets.orchestration.markdown import acceptance_markdown
from aboutness_assets.orchestration.metadata import materialization_metadata
from aboutness_assets.orchestration.partitions import (
    SONG_ID_RANGES,
    create_missing_partitions,
    require_lasting_instance,
)
from aboutness_assets.orchestration.progress import DagsterAudience
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.pipeline.report import Report, why_no_song_got_a_row
from aboutness_assets.pipeline.runs import fill_first_songs, replay_failed
from aboutness_assets.pipeline.session import open_own_database, open_session


@dg.op
def create_song_id_range_partitions(context: dg.OpExecutionContext, settings: SettingsResource) -> None:
    """Create a partition for every range of song_id that contains songs and has no partition yet."""
    require_lasting_instance(context.instance)
    new = run_until_interrupted(
        create_missing_partitions(context.instance, settings.load(), context.log), context.log
    )
    ranges = len(context.instance.get_dynamic_partitions(SONG_ID_RANGES))
    context.log.info("%d partitions added; there are %d.", len(new), ranges)
    context.add_output_metadata({"ranges_added": len(new), "ranges": ranges})


@dg.job
def sync_song_id_ranges() -> None:
    """Create partitions for songs that are in no partition; existing ones are never changed or removed."""
    create_song_id_range_partitions()


@dg.op
def write_first_songs(context: dg.OpExecutionContext, settings: SettingsResource) -> None:
    """Write rows for the first 50 songs that have no row, and evaluate the criteria for these rows."""
    in_force = settings.load()

    async def write() -> tuple[Report, list[SmokeLine]]:
        with EventLogWriter(context.log) as event_log:
            audience = DagsterAudience(context, event_log)
            async with open_session(in_force) as session:
                songs, report = await fill_first_songs(
                    session, context.run.run_id, event_log.log, audience=audience
                )
                return report, await evaluate_smoke_run(session, songs, report)

    report, lines = run_until_interrupted(write(), context.log)
    context.log.info("Acceptance table\n%s", acceptance_table(lines))
    metadata = {
        "acceptance": dg.MetadataValue.md(acceptance_markdown(lines)),
        **materialization_metadata(report, in_force.chat_model, in_force.embedding_model),
    }
    failed = [line.name for line in lines if not line.passed]
    if failed:
        sentences = [f"The smoke run does not pass: {', '.join(failed)}.", why_no_song_got_a_row([report])]
        raise dg.Failure(" ".join(filter(None, sentences)), metadata, allow_retries=False)
    context.add_output_metadata(metadata)


@dg.job
def aboutness_smoke() -> None:
    """Write the first 50 songs without a row through the batch path and print the acceptance table."""
    write_first_songs()


class ReplayConfig(dg.Config):
    """Which failed songs to try again: all of them, unless a field below is set."""

    cause: OptionalText = Field(
        default=None, description=f"Only songs that failed for this cause: {', '.join(get_args(Cause))}."
    )
    song_ids: list[SongIdText] = Field(default_factory=list, description="Only these songs.")


@dg.op
def replay_songs(context: dg.OpExecutionContext, config: ReplayConfig, settings: SettingsResource) -> None:
    """Try failed songs again, including quarantined ones; the answers they failed on are read again first."""
    if config.cause is not None and config.cause not in get_args(Cause):
        raise dg.Failure(
            "cause: there is no such cause. Leave it empty or use one of these: "
            f"{', '.join(get_args(Cause))}.",
            allow_retries=False,
        )
    in_force = settings.load()

    async def replay() -> Report:
        with EventLogWriter(context.log) as event_log:
            audience = DagsterAudience(context, event_log)
            async with open_session(in_force) as session:
                return await replay_failed(
                    session,
                    context.run.run_id,
                    event_log.log,
                    cause=config.cause,
                    song_ids=config.song_ids,
                    audience=audience,
                )

    report = run_until_interrupted(replay(), context.log)
    context.add_output_metadata(
        materialization_metadata(report, in_force.chat_model, in_force.embedding_model)
    )


@dg.job
def replay_failed_songs() -> None:
    """Try failed songs again: all of them, those of one cause, or chosen ones (see the op's config)."""
    replay_songs()


@dg.op
def forget_what_endpoints_take(context: dg.OpExecutionContext, settings: SettingsResource) -> None:
    """Forget what was found out about every endpoint and model, so that later runs find it out again."""

    async def forget() -> int:
        async with open_own_database(settings.load()) as operations:
            return await forget_all(operations)

    forgotten = run_until_interrupted(forget(), context.log)
    context.log.info("%d facts about endpoints forgotten.", forgotten)


@dg.job
def forget_capabilities() -> None:
    """Forget what endpoints were found to refuse; run it after an endpoint or its model has changed."""
    forget_what_endpoints_take()


song_aboutness_backfill = dg.define_asset_job(
    "song_aboutness_backfill",
    selection=dg.AssetSelection.assets(song_aboutness),
    description="Fill one partition (or, as a backfill, all of them), then run the checks.",
)

aboutness_checks = dg.define_asset_job(
    "aboutness_checks",
    selection=dg.AssetSelection.checks_for_assets(song_aboutness),
    tags={FAIL_RUN_TAG: "true"},
    description="Evaluate every criterion on the whole table; fails if a check of severity ERROR fails.",
)
