"""The query of docs/operating.md that shows what was spent."""

import re
from pathlib import Path

import psycopg

from aboutness_assets.database.operations.connection import Operations
from tests.support.service_database import ServiceDatabase

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"


def test_the_query_for_what_was_spent_runs(
    operations: Operations, service_of_session: ServiceDatabase
) -> None:
    [query] = re.findall(r"```sql\n(select budget.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    with psycopg.connect(service_of_session.ops_url) as connection:
        cursor = connection.execute(query.encode())
        assert [column.name for column in cursor.description or ()] == [
            *("budget", "kind", "state", "count", "usd", "at_most"),
        ]
