"""Where rows go: the service's table, through few connections, and slower while its database is slow."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from aboutness_assets.database.hold import Hold
from aboutness_assets.database.service.aboutness_table import AboutnessTable, Inserted, Row
from aboutness_assets.database.service.connection import ServicePool
from aboutness_assets.database.service.replication import replication_lag
from aboutness_assets.pipeline.brake import DatabaseBrake
from aboutness_assets.pipeline.meter import Meter
from aboutness_assets.pipeline.refusals import Refusals


@dataclass(frozen=True, slots=True)
class Destination:
    """The service's table, through a pool of connections."""

    table: AboutnessTable
    pool: ServicePool
    refusals: Refusals
    brake: DatabaseBrake
    hold: Hold
    log: logging.Logger
    meter: Meter

    async def insert(self, rows: Sequence[Row]) -> Inserted:
        """Insert rows when it is their turn and the ranges are surely ours, as AboutnessTable.insert does."""
        began = time.monotonic()
        async with self.brake.turn():
            self.meter.waited("database", time.monotonic() - began)
            inserted = await self.table.insert(self.pool, rows, self.log, self.hold.while_certain)
        if inserted.seconds:
            self.brake.took(inserted.seconds, len(rows))
            self.meter.inserted(inserted.seconds)
        self.meter.songs("written", inserted.written)
        self.meter.songs("already_there", inserted.already_there)
        if self.brake.is_lag_due and (lag := await replication_lag(self.pool)) is not None:
            self.brake.lags(lag)
        return inserted
