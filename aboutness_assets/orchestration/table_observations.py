"""What the service's tables are, as observations: their number of rows, and their columns' real types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dagster as dg

from aboutness_assets.database.service.table_facts import (
    ColumnFacts,
    ServiceTables,
    TableFacts,
    aboutness_columns,
    read_service_tables,
)
from aboutness_assets.domain.printable import printable_line
from aboutness_assets.orchestration.columns import ABOUTNESS_COLUMNS, SONGS_COLUMNS
from aboutness_assets.pipeline.session import Session, open_unrecorded
from aboutness_assets.settings import Settings


async def read_tables(session: Session, *, even_if_large: bool) -> ServiceTables | None:
    """Count songs and song_aboutness and read their columns; None where they are large, unless told to."""
    async with session.service_pool.connection() as connection:
        return await read_service_tables(connection, session.songs_query, even_if_large=even_if_large)


async def count_tables(settings: Settings) -> ServiceTables | None:
    """As read_tables, however large they are, in a session of its own."""
    async with open_unrecorded(settings) as session:
        return await read_tables(session, even_if_large=True)


def report_tables(instance: dg.DagsterInstance, tables: ServiceTables | None) -> None:
    """Report both tables as observed, outside of any run, so that a run's log does not grow by it."""
    if tables is not None:
        for observation in table_observations(tables):
            instance.report_runless_asset_event(observation)


def table_observations(tables: ServiceTables) -> Iterator[dg.AssetObservation]:
    """One observation per table."""
    yield _observation("songs", tables.songs, SONGS_COLUMNS)
    yield _observation("song_aboutness", tables.song_aboutness, ABOUTNESS_COLUMNS)


async def real_aboutness_schema(session: Session) -> dg.TableSchema:
    """The columns of song_aboutness with the types that they have."""
    async with session.service_pool.connection() as connection:
        return _schema(await aboutness_columns(connection), ABOUTNESS_COLUMNS)


def _observation(name: str, facts: TableFacts, documented: dg.TableSchema) -> dg.AssetObservation:
    schema = _schema(facts.columns, documented)
    return dg.AssetObservation(
        name, metadata={"dagster/row_count": facts.rows, "dagster/column_schema": schema}
    )


def _schema(columns: Sequence[ColumnFacts], documented: dg.TableSchema) -> dg.TableSchema:
    known = {column.name: column for column in documented.columns}
    return dg.TableSchema(
        [
            dg.TableColumn(
                printable_line(column.name),
                printable_line(column.type_name),
                description=known[column.name].description if column.name in known else None,
                constraints=dg.TableColumnConstraints(
                    nullable=column.is_nullable,
                    unique=column.name in known and known[column.name].constraints.unique,
                ),
            )
            for column in columns
        ]
    )
