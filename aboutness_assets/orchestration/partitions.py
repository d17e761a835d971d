"""The partitions of song_aboutness, and the creation of those that are missing."""

import logging
import os

import dagster as dg

from aboutness_assets.pipeline.runs import create_partitions
from aboutness_assets.pipeline.session import open_catalogue
from aboutness_assets.settings import Settings

SONG_ID_RANGES = "song_id_ranges"
"""Name of the partitions definition (CONTRACT: Dagster)."""

song_id_ranges = dg.DynamicPartitionsDefinition(name=SONG_ID_RANGES)


def require_lasting_instance(instance: dg.DagsterInstance) -> None:
    """Raise Failure where DAGSTER_HOME is not set.

    Dagster's commands then create an instance in a temporary directory and delete it at their end.
    """
    if not (os.environ.get("DAGSTER_HOME") or instance.is_ephemeral):
        raise dg.Failure(
            "DAGSTER_HOME is not set, so the new partitions would be forgotten at once. "
            "Set it to the absolute path of the directory that holds dagster.yaml.",
            allow_retries=False,
        )


async def create_missing_partitions(
    instance: dg.DagsterInstance, settings: Settings, log: logging.Logger
) -> list[str]:
    """Create the partitions that songs of the catalogue lack; returns the new keys.

    Raises SettingsError, InvalidPartitionKey, or FatalError when a database cannot be used.
    """
    async with open_catalogue(settings) as catalogue:
        return await create_partitions(
            catalogue,
            read_keys=lambda: instance.get_dynamic_partitions(SONG_ID_RANGES),
            add_keys=lambda keys: instance.add_dynamic_partitions(SONG_ID_RANGES, list(keys)),
            log=log,
        )
