"""Keeps the newest readiness report in Dagster's own database, and lets the webserver hand it out as a file.

Dagster's webserver has one route that serves files, that of captured stdout. This project captures none, so
its compute log manager answers there with the report alone. A run keeps the report in the instance's storage,
so the host of the webserver needs nothing of the host of the run.
"""

import base64
import gzip
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster._core.storage.compute_log_manager import CapturedLogData, ComputeIOType, ComputeLogManager
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._serdes import ConfigurableClassData

NAME, EXTENSION = "readiness_report", "html"

DOWNLOAD_URL = f"/logs/{NAME}/{EXTENSION}"
"""Where the webserver hands it out, as an attachment of the name readiness_report.html."""

_KEY = "aboutness/readiness_report.html.gz"


def keep_report(instance: dg.DagsterInstance, html: str) -> Path:
    """Keep the report in the instance's storage and as a file of this host; returns the file's path."""
    packed = base64.b64encode(gzip.compress(html.encode(), mtime=0)).decode()
    instance.daemon_cursor_storage.set_cursor_values({_KEY: packed})
    return _write(instance, html)


def kept_report(instance: dg.DagsterInstance) -> str | None:
    """The newest report; None before the first."""
    packed = instance.daemon_cursor_storage.get_cursor_values({_KEY}).get(_KEY)
    return None if packed is None else gzip.decompress(base64.b64decode(packed)).decode()


def is_downloadable(instance: dg.DagsterInstance) -> bool:
    """Whether the webservers of this instance hand out the report: as dagster.yaml of this project has it."""
    return isinstance(instance.compute_log_manager, ReportDownloads)


class ReportDownloads(NoOpComputeLogManager, LocalComputeLogManager):
    """Captures nothing, and knows one file: the readiness report.

    It is a LocalComputeLogManager for the webserver's sake alone, which serves files of no other.
    """

    def get_captured_local_path(
        self, log_key: Sequence[str], extension: str, partial: bool = False
    ) -> str | None:
        """The path of the report, from the instance's storage; None, answered with 404, for all else."""
        if [*log_key, extension] != [NAME, EXTENSION]:
            return None
        html = kept_report(self._instance)
        return None if html is None else str(_write(self._instance, html))

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """As dagster.yaml declares it, without any config."""
        return cls(inst_data=inst_data, **config_value)

    def get_log_data_for_type(
        self,
        log_key: Sequence[str],
        io_type: ComputeIOType,
        offset: int | None = 0,
        max_bytes: int | None = None,
    ) -> tuple[bytes | None, int]:
        """Nothing, as nothing is captured."""
        return None, 0

    def get_log_data(
        self, log_key: Sequence[str], cursor: str | None = None, max_bytes: int | None = None
    ) -> CapturedLogData:
        """Nothing, as nothing is captured."""
        return ComputeLogManager.get_log_data(self, log_key, cursor, max_bytes)

    def dispose(self) -> None:
        """Nothing is held."""


def _write(instance: dg.DagsterInstance, html: str) -> Path:
    """Write the file in the place of an older one at once: whoever reads it reads a whole one."""
    directory = Path(instance.storage_directory())
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{NAME}.{EXTENSION}"
    handle, new = tempfile.mkstemp(dir=directory)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(html)
    Path(new).chmod(0o644)
    Path(new).replace(path)
    return path
