"""Whether a connection goes through a pooler that changes sessions beneath it; nothing is written."""

import psycopg

from aboutness_assets.domain.errors import SettingsError

NO_TRANSACTION_POOLER = (
    "DAGSTER_PG_URL leads through a transaction pooler (PgBouncer, Supavisor and the like), which may give "
    "every transaction another session of Postgres. Locks and notifications do not work there, so nothing "
    "was started. Set DAGSTER_PG_URL to the direct address of the database, or to a pooler in session mode "
    "(at many hosts port 5432 instead of 6543)."
)

_BACKEND_PID = "select pg_backend_pid()"

_ROUNDS = 5
"""A pooler that takes its sessions in turn may give each of two connections the same one for a while."""


def is_pooled(connection_pid: int, pid: int) -> bool:
    """Whether a pooler of any kind answered: its clients get another process id than Postgres' own.

    connection_pid: from the start of the connection (``connection.info.backend_pid``); pid: Postgres' word.
    """
    return connection_pid != pid


def require_sessions(conninfo: str) -> None:
    """Raise SettingsError where ``conninfo``, of DAGSTER_PG_URL, leads through a transaction pooler.

    Raises psycopg.Error where Postgres cannot be reached.
    """
    if has_transaction_pooler(conninfo):
        raise SettingsError(NO_TRANSACTION_POOLER)


def has_transaction_pooler(conninfo: str) -> bool:
    """Whether two connections share a session, or one changes its own: neither happens in session mode."""
    with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as first:
        before = _backend_pid(first)
        if not is_pooled(first.info.backend_pid, before):
            return False
        with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as second:
            for _ in range(_ROUNDS):
                with second.transaction():  # which keeps the session that it gets
                    if _backend_pid(second) == before or _backend_pid(first) != before:
                        return True
    return False


def _backend_pid(connection: psycopg.Connection) -> int:
    row = connection.execute(_BACKEND_PID).fetchone()
    assert row is not None
    return int(row[0])
