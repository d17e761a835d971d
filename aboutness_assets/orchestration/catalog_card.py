"""What the catalog says of the service's tables: owner, tags, address, the order of steps, the runbook."""

from pathlib import Path
from typing import Any

import dagster as dg

import aboutness_assets
from aboutness_assets.database.url import address_without_secrets
from aboutness_assets.settings import database_url_if_set, owner

_RUNBOOK = Path(aboutness_assets.__file__).resolve().parents[1] / "docs" / "operating.md"
"""Where the package runs from a checkout."""

STEPS = """\
Fill it in this order. 1 [preflight](/guess/aboutness_preflight) (free) →
2 [smoke](/guess/aboutness_smoke) (50 songs) → 3 [canary](/guess/aboutness_canary) (a few ranges) →
4 [backfill](/assets/song_aboutness?view=partitions) (**Materialize…**, all partitions) →
5 [checks](/assets/song_aboutness?view=checks) →
6 flag: once [ready_to_enable](/assets/song_aboutness?view=checks&checkDetail=ready_to_enable) passes, switch
the service's search on.
"""
"""Links as the UI has them, whatever the code location is called."""

ABOUTNESS_DESCRIPTION = f"""\
What each song is about, one row per song: emotions and moments, each a text with a confidence and a vector.

{STEPS}
How far it is: [backfill_progress](/assets/backfill_progress); how good:
[readiness_report](/assets/readiness_report).

Songs that have a row are skipped, and rows that were written stay: launch again what was stopped, failed or
killed, and it uses the answers that were already paid for first. A range's `songs_per_second` is the pace of
its run. docs/operating.md is the runbook.
"""

SONGS_DESCRIPTION = """\
The service's catalogue, one row per song. This project reads it and never writes to it.

The sensor [song_id_ranges_in_step](/overview/sensors) creates partitions for new songs.
"""

SPENDS_MONEY = {"spends": "money"}


def owners() -> list[str]:
    """Whom to ask about the assets: ABOUTNESS_OWNER. Raises SettingsError where that is malformed."""
    return [named] if (named := owner()) else []


def table_metadata(table: str, columns: dg.TableSchema) -> dict[str, Any]:
    """Name, columns, and, where DATABASE_URL is set, address of a table of the service."""
    metadata: dict[str, Any] = {"dagster/table_name": table, "dagster/column_schema": columns}
    if (url := database_url_if_set()) and (address := address_without_secrets(url, table)):
        metadata["dagster/uri"] = address
    return metadata


def runbook() -> dict[str, Any]:
    """A link to the runbook beside those to the source; nothing where the package is installed without it."""
    if not _RUNBOOK.is_file():
        return {}
    reference = dg.LocalFileCodeReference(file_path=str(_RUNBOOK), line_number=1, label="Runbook")
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}
