"""The assets: songs, which the service owns, and song_aboutness, which this project fills range by range."""

import logging
import warnings

import dagster as dg

from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.metadata import (
    ABOUTNESS_COLUMNS,
    SONGS_COLUMNS,
    coverage_metadata,
    materialization_metadata,
)
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.runs import Run, coverage_by_range, create_partitions, fill_ranges
from aboutness_assets.settings import Settings, partitions_per_run

# Dagster calls backfill policies beta; whoever runs a command can do nothing about it.
warnings.filterwarnings("ignore", message=".*backfill_policy", category=dg.BetaWarning)

SONG_ID_RANGES = "song_id_ranges"

song_id_ranges = dg.DynamicPartitionsDefinition(name=SONG_ID_RANGES)

songs = dg.AssetSpec(
    "songs",
    description="The service's catalogue: one row a song. Only read, never written.",
    group_name="catalogue",
    kinds={"postgres"},
    metadata={"dagster/table_name": "songs", "dagster/column_schema": SONGS_COLUMNS},
)


@dg.asset(
    partitions_def=song_id_ranges,
    deps=[songs],
    group_name="aboutness",
    kinds={"openai", "postgres"},
    metadata={"dagster/table_name": "song_aboutness", "dagster/column_schema": ABOUTNESS_COLUMNS},
    backfill_policy=dg.BackfillPolicy.multi_run(partitions_per_run()),
)
def song_aboutness(context: dg.AssetExecutionContext, settings: SettingsResource) -> None:
    """What every song of a range is about: emotions and moments, each with a confidence and a vector.

    Songs that have a row are skipped. What is written stays written, so a run that was stopped or killed
    is simply launched again; answers that were paid for are used first.
    """
    in_force, range_keys = settings.load(), _existing_ranges(context)

    def materialized(range_key: str, report: Report) -> None:
        metadata = materialization_metadata(report, in_force.chat_model, in_force.embedding_model)
        if len(range_keys) > 1:  # at once: a run that fails later still counts for this range
            context.log_event(
                dg.AssetMaterialization(context.asset_key, partition=range_key, metadata=metadata)
            )
        # Dagster's own event for each range, at the end of the run, would else hide the metadata.
        context.add_asset_metadata(metadata, partition_key=range_key)

    run_until_interrupted(fill_ranges(in_force, range_keys, run_of(context.run), context.log, materialized))


@dg.asset(deps=[song_aboutness], group_name="aboutness", kinds={"pandas"})
def coverage_report(
    context: dg.AssetExecutionContext, settings: SettingsResource
) -> dg.MaterializeResult[None]:
    """How much of the catalogue has a row, range by range; costs one short read a range and no request."""
    ranges = context.instance.get_dynamic_partitions(SONG_ID_RANGES)
    counts = run_until_interrupted(coverage_by_range(settings.load(), ranges))
    return dg.MaterializeResult(metadata=coverage_metadata(counts))


async def create_missing_partitions(
    instance: dg.DagsterInstance, settings: Settings, log: logging.Logger
) -> list[str]:
    """Add a partition for every range that holds songs and has none; returns the new keys."""
    return await create_partitions(
        settings,
        read_keys=lambda: instance.get_dynamic_partitions(SONG_ID_RANGES),
        add_keys=lambda keys: instance.add_dynamic_partitions(SONG_ID_RANGES, list(keys)),
        log=log,
    )


def run_of(run: dg.DagsterRun) -> Run:
    """Who runs, and whose spending it is: the backfill's, else that of the run and its retries."""
    return Run(run.run_id, run.tags.get("dagster/backfill") or run.root_run_id or run.run_id)


def _existing_ranges(context: dg.AssetExecutionContext) -> list[str]:
    """The run's partitions: all laid, else Dagster would refuse the result after it was paid for."""
    if not (context.has_partition_key or context.has_partition_key_range):
        raise dg.Failure(
            "song_aboutness is filled range by range, and the run names none: launch it for a partition, "
            """as with --tags '{"dagster/partition": "KEY"}', where KEY is one of song_id_ranges.""",
            allow_retries=False,
        )
    if not context.has_partition_key:
        return list(context.partition_keys)  # Dagster itself refuses a range of which a key is not laid
    if not context.instance.has_dynamic_partition(SONG_ID_RANGES, context.partition_key):
        raise dg.Failure(
            f"The partition key {context.partition_key!r} is none of song_id_ranges in this DAGSTER_HOME: "
            "run the job sync_song_id_ranges, which lays them, and use one of its keys.",
            allow_retries=False,
        )
    return [context.partition_key]
