"""What the launchpad may override, and that nobody can send a key or a query elsewhere from it."""

import dagster as dg
import pytest

from aboutness_assets.orchestration.resources import SettingsResource
from aboutness_assets.settings import Settings

FROM_THE_ENVIRONMENT_ALONE = {
    "database_url",
    "dagster_pg_url",
    "openai_api_key",
    "openai_base_url",
    "songs_query",
    "rollout_at",
}


def test_overrides_are_settings_and_none_of_them_names_an_address_a_key_or_a_query() -> None:
    offered = SettingsResource.model_fields.keys()
    assert offered <= Settings.model_fields.keys()
    assert not offered & FROM_THE_ENVIRONMENT_ALONE


def test_an_override_wins_over_the_environment_and_what_is_empty_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ABOUTNESS_PACK_SIZE", "7")
    monkeypatch.setenv("ABOUTNESS_RATE_LIMIT_WAITS", "1,2")
    settings = SettingsResource(rate_limit_waits="3,4").load()
    assert (settings.pack_size, settings.rate_limit_waits) == (7, (3.0, 4.0))


def test_an_override_out_of_bounds_fails_with_a_sentence_and_is_not_retried() -> None:
    with pytest.raises(dg.Failure, match=r"ABOUTNESS_PACK_SIZE: .* less than or equal to 100") as failure:
        SettingsResource(pack_size=101).load()
    assert not failure.value.allow_retries


def test_the_launchpad_shows_the_meaning_and_the_bounds() -> None:
    description = SettingsResource.model_fields["pack_size"].description
    assert description == (
        "Songs in one chat request. If not set here: ABOUTNESS_PACK_SIZE, or else its default. "
        "Bounds: at least 1, at most 100."
    )
