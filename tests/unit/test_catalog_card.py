"""What the catalog says of the service's tables, and that it says no secret."""

from __future__ import annotations

import re

import dagster as dg
import pytest

from aboutness_assets.database.service.table_facts import ColumnFacts, ServiceTables, TableFacts
from aboutness_assets.database.url import address_without_secrets
from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.orchestration.catalog_card import ABOUTNESS_DESCRIPTION, owners, table_metadata
from aboutness_assets.orchestration.columns import ABOUTNESS_COLUMNS, SONGS_COLUMNS
from aboutness_assets.orchestration.table_observations import table_observations
from aboutness_assets.settings import OWNER


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://ann:s3cret@db.test:5432/service", "postgresql://db.test:5432/service/songs"),
        ("postgres://ann:s%40cret@db.test/service?schema=app", "postgresql://db.test/service/app.songs"),
        ("postgres://ann:s3cret@db.test/x?sslpassword=s3cret", "postgresql://db.test/x/songs"),
        ("postgres://ann:s3cret@one.test,two.test:2/x", "postgresql://one.test,two.test:2/x/songs"),
        ("postgres://ann:s3cret@[::1]:5/x", "postgresql://[::1]:5/x/songs"),
        ("postgres://ann:s3@cret@db.test/x", None),
        ("postgres://ann:s3cret@db.test", None),
        ("postgres://ann@/x?host=/run/postgresql", None),
        ("s3cret", None),
    ],
)
def test_the_address_of_a_table_has_no_user_password_or_parameter(url: str, address: str | None) -> None:
    assert address_without_secrets(url, "songs") == address


def test_without_an_address_the_card_has_its_name_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "no address")
    assert table_metadata("songs", SONGS_COLUMNS).keys() == {"dagster/table_name", "dagster/column_schema"}
    monkeypatch.setenv("DATABASE_URL", "postgres://ann:s3cret@db.test/x")
    assert table_metadata("songs", SONGS_COLUMNS)["dagster/uri"] == "postgresql://db.test/x/songs"


@pytest.mark.parametrize(
    ("given", "owner"),
    [
        ("", []),
        ("ann@example.com", ["ann@example.com"]),
        ("team:music", ["team:music"]),
        ("music team", ["team:music team"]),
    ],
)
def test_an_owner_is_a_person_or_a_team(
    monkeypatch: pytest.MonkeyPatch, given: str, owner: list[str]
) -> None:
    monkeypatch.setenv(OWNER, given)
    assert owners() == owner
    dg.AssetSpec("an_asset", owners=owners())  # as Dagster would refuse it


@pytest.mark.parametrize("given", ["ann@example", "team:", "<b>", "a\nb"])
def test_a_malformed_owner_gives_one_clear_sentence(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(OWNER, given)
    with pytest.raises(SettingsError, match=r"^ABOUTNESS_OWNER: must be an email address or the name"):
        owners()


def test_the_description_begins_with_the_steps_in_their_order() -> None:
    steps = ["1 [preflight]", "2 [smoke]", "3 [canary]", "4 [backfill]", "5 [checks]", "6 flag"]
    places = [ABOUTNESS_DESCRIPTION.index(step) for step in steps]
    assert places == sorted(places)
    assert ABOUTNESS_DESCRIPTION.splitlines()[2].startswith("Fill it in this order.")
    assert "/locations/" not in ABOUTNESS_DESCRIPTION  # a code location may have any name


def test_every_link_of_the_description_leads_to_a_job_or_an_asset() -> None:
    from aboutness_assets.definitions import defs

    repository = defs.get_repository_def()
    assets = {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}
    linked = set(re.findall(r"\(/(guess|assets)/(\w+)", ABOUTNESS_DESCRIPTION))
    assert {name for kind, name in linked if kind == "guess"} < set(repository.job_names)
    assert {name for kind, name in linked if kind == "assets"} <= assets
    assert len(linked) == 6


def test_an_observation_has_the_counted_rows_and_the_real_types_with_our_descriptions() -> None:
    columns = (
        ColumnFacts("song_id", "uuid", is_nullable=False),
        ColumnFacts("emotions_vector", "halfvec(8)", is_nullable=True),
        ColumnFacts("somebody's", "own_type", is_nullable=True),
    )
    tables = ServiceTables(TableFacts(7, columns[:1]), TableFacts(5, columns))
    songs, aboutness = table_observations(tables)
    assert [one.asset_key.to_user_string() for one in (songs, aboutness)] == ["songs", "song_aboutness"]
    assert [one.metadata["dagster/row_count"].value for one in (songs, aboutness)] == [7, 5]
    schema = aboutness.metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    assert [(column.name, column.type) for column in schema.columns] == [
        ("song_id", "uuid"),
        ("emotions_vector", "halfvec(8)"),
        ("somebody's", "own_type"),
    ]
    documented = {column.name: column.description for column in ABOUTNESS_COLUMNS.columns}
    assert [column.description for column in schema.columns] == [
        documented["song_id"],
        documented["emotions_vector"],
        None,
    ]
