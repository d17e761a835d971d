"""DAGSTER_PG_URL on its way into Dagster's storage."""

import pytest

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.orchestration.instance.storage import PostgresStorage


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cret/x@127.0.0.1:1/db",
        "postgresql://u:p@ss#s3cret@127.0.0.1:1/db",
        "postgresql://u:x@127.0.0.1:s3cret/db",
        "postgresql://u:s3cret%zz@127.0.0.1:1/db",
        "postgresql+psycopg2://u:x@127.0.0.1:s3cret/db",
        "mysql://u:s3cret@127.0.0.1:1/db",
        "host=127.0.0.1 password=s3cret",
        "s3cret",
    ],
)
def test_a_malformed_url_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DAGSTER_PG_URL", url)
    with pytest.raises(SettingsError, match="DAGSTER_PG_URL") as caught:
        PostgresStorage.from_config_value(None, {"url_from": "DAGSTER_PG_URL"})
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_without_a_url_the_error_names_the_setting_and_the_embedded_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DAGSTER_PG_URL", raising=False)
    with pytest.raises(SettingsError, match=r"DAGSTER_PG_URL is not set.*aboutness-local"):
        PostgresStorage.from_config_value(None, {"url_from": "DAGSTER_PG_URL"})
