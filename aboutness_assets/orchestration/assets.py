"""The assets: songs, which the service owns, and song_aboutness, which this project fills range by range."""

import warnings

import dagster as dg

from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.catalog_card import (
    ABOUTNESS_DESCRIPTION,
    SONGS_DESCRIPTION,
    SPENDS_MONEY,
    owners,
    runbook,
    table_metadata,
)
from aboutness_assets.orchestration.columns import ABOUTNESS_COLUMNS, SONGS_COLUMNS
from aboutness_assets.orchestration.event_log import EventLogWriter
from aboutness_assets.orchestration.metadata import range_materialization
from aboutness_assets.orchestration.partitions import SONG_ID_RANGES, song_id_ranges
from aboutness_assets.orchestration.progress import DagsterAudience
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.orchestration.table_observations import real_aboutness_schema
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.runs import fill_ranges
from aboutness_assets.pipeline.session import open_session, opened
from aboutness_assets.settings import partitions_per_run

# Dagster warns that these are beta: nothing that the person who runs a command could act on.
warnings.filterwarnings(
    "ignore", message=".*(backfill_policy|[cC]ode_?[rR]eference)", category=dg.BetaWarning
)

_ALREADY_LOGGED = {"__source_asset_observation__": True}
"""Metadata of an output whose materializations are in the log already: Dagster then adds none of its own.

Dagster's mark for the outputs of observable source assets (source_asset.py), which log their events
themselves too. Without it, Dagster logs every range once more at the end of the run.
"""

songs = dg.AssetSpec(
    "songs",
    description=SONGS_DESCRIPTION,
    group_name="aboutness",  # one group alone opens with its assets' names in the UI's lineage
    kinds={"postgres"},
    owners=owners(),
    metadata=table_metadata("songs", SONGS_COLUMNS),
)


@dg.asset(
    partitions_def=song_id_ranges,
    deps=[songs],
    group_name="aboutness",
    description=ABOUTNESS_DESCRIPTION,
    kinds={"openai", "postgres"},
    owners=owners(),
    tags=SPENDS_MONEY,
    metadata=table_metadata("song_aboutness", ABOUTNESS_COLUMNS) | runbook(),
    backfill_policy=dg.BackfillPolicy.multi_run(partitions_per_run()),
)
def song_aboutness(
    context: dg.AssetExecutionContext, settings: SettingsResource
) -> dg.MaterializeResult[None]:
    """Fill the ranges of a run: a row for every song that has none."""
    in_force, range_keys = settings.load(), _partitions_to_fill(context)

    async def fill() -> None:
        with EventLogWriter(context.log) as event_log:
            audience = DagsterAudience(context, event_log)
            async with opened(lambda: open_session(in_force), event_log.log) as session:
                columns = await real_aboutness_schema(session)

                def materialize(range_key: str, report: Report) -> None:
                    """Log it now, so that this range counts even if the run fails later."""
                    filled = range_materialization(context.asset_key, range_key, report, in_force, columns)
                    event_log.submit(lambda: context.log_event(filled))

                await fill_ranges(
                    session, range_keys, context.run.run_id, event_log.log, materialize, audience
                )

    run_until_interrupted(fill(), context.log)
    return dg.MaterializeResult(metadata=_ALREADY_LOGGED)


def _partitions_to_fill(context: dg.AssetExecutionContext) -> list[str]:
    """The run's partition keys.

    Raises Failure when one does not exist, which Dagster itself would notice only after all is paid for.
    """
    if not (context.has_partition_key or context.has_partition_key_range):
        raise dg.Failure(
            "song_aboutness is filled per partition, and this run names no partition: launch it for one, "
            """as with --tags '{"dagster/partition": "KEY"}', where KEY is one of song_id_ranges.""",
            allow_retries=False,
        )
    if not context.has_partition_key:
        return list(context.partition_keys)  # Dagster itself refuses a range with a key that does not exist
    if not context.instance.has_dynamic_partition(SONG_ID_RANGES, context.partition_key):
        raise dg.Failure(
            f"The partition {context.partition_key!r} does not exist in song_id_ranges of this DAGSTER_HOME: "
            "run the job sync_song_id_ranges, which creates the partitions, and use one of its keys.",
            allow_retries=False,
        )
    return [context.partition_key]
