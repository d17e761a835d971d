"""The canary: a few ranges over the whole catalogue, filled and judged before the big launch."""

import logging
from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from aboutness_assets.acceptance.canary import (
    sample_lines,
    time_at_measured_rate,
    verdict_lines,
    written_lines,
)
from aboutness_assets.acceptance.evaluate import evaluate_criteria
from aboutness_assets.acceptance.preflight import estimated_backfill, findings_table
from aboutness_assets.acceptance.report_reading import sample_of_ranges
from aboutness_assets.acceptance.telling_sample import Chosen
from aboutness_assets.acceptance.verdicts import Verdict
from aboutness_assets.domain.errors import FatalError
from aboutness_assets.domain.findings import Finding, failing
from aboutness_assets.orchestration.assets import song_aboutness
from aboutness_assets.orchestration.async_runner import run_until_interrupted
from aboutness_assets.orchestration.event_log import EventLogWriter
from aboutness_assets.orchestration.launchpad_types import OptionalNumber
from aboutness_assets.orchestration.markdown import findings_markdown
from aboutness_assets.orchestration.metadata import range_materialization
from aboutness_assets.orchestration.partitions import (
    SONG_ID_RANGES,
    create_missing_partitions,
    require_lasting_instance,
)
from aboutness_assets.orchestration.progress import DagsterAudience
from aboutness_assets.orchestration.report_metadata import sample_markdown
from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.orchestration.table_observations import real_aboutness_schema
from aboutness_assets.orchestration.verdict_results import evaluation_of, verdict_result
from aboutness_assets.pipeline.canary import choose_canary_ranges, count_songs_left
from aboutness_assets.pipeline.report import Report
from aboutness_assets.pipeline.runs import CATALOGUE_IS_EMPTY, fill_ranges
from aboutness_assets.pipeline.session import Session, open_session

DEFAULT_RANGES, MOST_RANGES = 3, 20


class CanaryConfig(dg.Config):
    """How much a canary fills: whole ranges, so that what it does is not done again."""

    ranges: OptionalNumber = Field(
        default=None,
        description="Ranges to fill, evenly spread over those that have songs without a row. "
        f"Default: {DEFAULT_RANGES}. Bounds: at least 1, at most {MOST_RANGES}.",
    )


@dg.op
def fill_spread_ranges(
    context: dg.OpExecutionContext, config: CanaryConfig, settings: SettingsResource
) -> None:
    """Fill a few ranges spread over the catalogue, evaluate the criteria, and project what the rest takes."""
    number = DEFAULT_RANGES if config.ranges is None else config.ranges
    if not 1 <= number <= MOST_RANGES:
        raise dg.Failure(f"ranges: must be a whole number from 1 to {MOST_RANGES}.", allow_retries=False)
    require_lasting_instance(context.instance)
    in_force = settings.load()
    reports: dict[str, Report] = {}

    async def fill_and_judge() -> tuple[list[Verdict], list[Finding], list[Chosen]]:
        with EventLogWriter(context.log) as event_log:
            audience = DagsterAudience(context, event_log)
            await create_missing_partitions(context.instance, in_force, event_log.log)
            partition_keys = context.instance.get_dynamic_partitions(SONG_ID_RANGES)
            async with open_session(in_force) as session:
                columns = await real_aboutness_schema(session)

                def done(range_key: str, report: Report) -> None:
                    reports[range_key] = report
                    filled = range_materialization(song_aboutness.key, range_key, report, in_force, columns)
                    event_log.submit(lambda: context.log_event(filled))

                chosen = await _choose(session, partition_keys, number, event_log.log)
                if chosen:
                    await fill_ranges(session, chosen, context.run.run_id, event_log.log, done, audience)
                verdicts = await evaluate_criteria(session, chosen, partition_keys)
                songs_left, rest = await estimated_backfill(session, await session.terms())
                if chosen:
                    rest.append(time_at_measured_rate(songs_left, reports))
                return verdicts, rest, await sample_of_ranges(session, chosen)

    verdicts, rest, sample = run_until_interrupted(fill_and_judge(), context.log)
    for verdict in verdicts:  # so that the checks say what was found, although no check ran
        key = dg.AssetCheckKey(song_aboutness.key, verdict.name)
        context.instance.report_runless_asset_event(
            evaluation_of(key, verdict_result(verdict, key.asset_key))
        )
    found = [
        *(written_lines(reports, in_force.pack_size) if reports else []),
        *verdict_lines(verdicts),
    ]
    context.log.info("Canary\n%s", findings_table(found))
    context.log.info("What all that is left will take\n%s", findings_table(rest))
    context.log.info("A sample of the texts\n%s", sample_lines(sample))
    tables = {
        "canary": dg.MetadataValue.md(findings_markdown(found)),
        "what_is_left": dg.MetadataValue.md(findings_markdown(rest)),
        "sample": dg.MetadataValue.md(sample_markdown(sample)),
    }
    if failed := failing(found):
        names = ", ".join(each.check for each in failed)
        raise dg.Failure(f"The canary does not pass: {names}.", tables, allow_retries=False)
    context.add_output_metadata(tables)


async def _choose(
    session: Session, partition_keys: Sequence[str], number: int, log: logging.Logger
) -> list[str]:
    """The keys of the ranges to fill; none where every song has a row. Raises FatalError without a song."""
    if not partition_keys:
        raise FatalError(CATALOGUE_IS_EMPTY)
    ranges = await count_songs_left(session, partition_keys)
    chosen = choose_canary_ranges(ranges, number)
    if not chosen:
        log.info("Every song of all %d ranges has a row, so there is nothing to try.", len(ranges))
        return []
    keys = [each.key for each in chosen]
    log.info(
        "The canary fills %d of the %d ranges with songs left, %s of %s songs: %s",
        len(keys),
        sum(each.songs_left > 0 for each in ranges),
        f"{sum(each.songs_left for each in chosen):,}",
        f"{sum(each.songs_left for each in ranges):,}",
        ", ".join(keys),
    )
    return keys


@dg.job
def aboutness_canary() -> None:
    """Fill a few ranges spread over the catalogue, judge them, and project what the rest takes.

    Three ranges unless the launchpad says otherwise. What is written and paid for stays: a backfill goes on
    from there. Fails where a criterion fails or nothing was written.
    """
    fill_spread_ranges()
