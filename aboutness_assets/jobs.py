"""The jobs: lay ranges, fill them, try it on a few songs, hold the criteria."""

import dagster as dg

from aboutness_assets.acceptance import acceptance_table
from aboutness_assets.assets import run_of, song_aboutness, song_id_ranges
from aboutness_assets.checks import FAIL_RUN_TAG
from aboutness_assets.interruption import run_until_interrupted
from aboutness_assets.presentation import materialization_metadata
from aboutness_assets.resources import SettingsResource
from aboutness_assets.runs import lay_ranges, smoke


@dg.op
def lay_song_id_ranges(context: dg.OpExecutionContext, settings: SettingsResource) -> None:
    """Add a partition for every range of song_id that holds songs and has none."""
    if context.instance.is_ephemeral:
        raise dg.Failure(
            "DAGSTER_HOME is not set, so the ranges would be forgotten at once. "
            "Set it to the absolute path of the directory that holds dagster.yaml.",
            allow_retries=False,
        )
    existing = context.instance.get_dynamic_partitions(str(song_id_ranges.name))
    new = run_until_interrupted(lay_ranges(settings.load(), existing))
    context.instance.add_dynamic_partitions(str(song_id_ranges.name), new)
    context.log.info("%d ranges added to the %d that were there.", len(new), len(existing))
    context.add_output_metadata({"ranges_added": len(new), "ranges": len(existing) + len(new)})


@dg.job
def sync_song_id_ranges() -> None:
    """Add partitions for songs that lie in none; existing ones are never changed or removed."""
    lay_song_id_ranges()


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
