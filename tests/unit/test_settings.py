from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.settings import PARTITIONS_PER_RUN, Settings, load_settings, partitions_per_run

SECRET = "postgresql://user:sesame@host/database"


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [field.alias for field in Settings.model_fields.values()]:
        monkeypatch.delenv(str(name), raising=False)


def test_defaults_are_those_of_the_contract() -> None:
    settings = load_settings()

    assert settings.model_dump() == {
        "database_url": None,
        "dagster_pg_url": None,
        "catalogue_url": None,
        "openai_api_key": None,
        "openai_base_url": None,
        "extra_headers": None,
        "chat_model": "gpt-6-luna",
        "reasoning_effort": "none",
        "embedding_model": "text-embedding-3-small",
        "pack_size": 10,
        "range_size": None,
        "songs_query": "select song_id, title, artist from songs",
        "rollout_at": datetime(2026, 2, 20, tzinfo=UTC),
        "rate_limit_waits": (15.0, 30.0),
        "give_up_after": 60,
        "request_timeout": 120,
        "max_in_flight": 0,
        "requests_per_minute": 0,
        "tokens_per_minute": 0,
        "max_usd": None,
        "budget": "default",
        "tier": "standard",
        "chat_price": None,
        "embedding_price": None,
        "quarantine_after": 3,
        "breaker_unavailable": 5,
        "breaker_bad_share": 0.5,
        "webhook_url": None,
        "ui_url": "http://127.0.0.1:3000",
        "otlp_endpoint": "",
    }


def test_the_environment_sets_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "DATABASE_URL": SECRET,
        "DAGSTER_PG_URL": SECRET,
        "ABOUTNESS_CATALOGUE_URL": SECRET,
        "OPENAI_API_KEY": "sk-key",
        "OPENAI_BASE_URL": "http://localhost/v1",
        "ABOUTNESS_EXTRA_HEADERS": '{"api-key": "k"}',
        "ABOUTNESS_CHAT_MODEL": "chat",
        "ABOUTNESS_REASONING_EFFORT": "low",
        "ABOUTNESS_EMBEDDING_MODEL": "embedding",
        "ABOUTNESS_PACK_SIZE": "7",
        "ABOUTNESS_RANGE_SIZE": "70",
        "ABOUTNESS_SONGS_QUERY": "select 1",
        "ABOUTNESS_ROLLOUT_AT": "2026-03-01T12:00:00+02:00",
        "ABOUTNESS_RATE_LIMIT_WAITS": " 1, 2.5 ,",
        "ABOUTNESS_GIVE_UP_AFTER": "2.5",
        "ABOUTNESS_REQUEST_TIMEOUT": "9",
        "ABOUTNESS_MAX_IN_FLIGHT": "5",
        "ABOUTNESS_REQUESTS_PER_MINUTE": "500",
        "ABOUTNESS_TOKENS_PER_MINUTE": "200000",
        "ABOUTNESS_MAX_USD": "4.5",
        "ABOUTNESS_BUDGET": "spring",
        "ABOUTNESS_TIER": "flex",
        "ABOUTNESS_CHAT_PRICE": "1,0.1,4",
        "ABOUTNESS_EMBEDDING_PRICE": "0.5",
        "ABOUTNESS_QUARANTINE_AFTER": "2",
        "ABOUTNESS_BREAKER_UNAVAILABLE": "4",
        "ABOUTNESS_BREAKER_BAD_SHARE": "0.25",
        "ABOUTNESS_WEBHOOK_URL": "https://hooks.example/services/T0/B0",
        "ABOUTNESS_UI_URL": "https://dagster.example",
        "ABOUTNESS_OTLP_ENDPOINT": "http://collector.example:4318",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    settings = load_settings()

    assert given.keys() == {field.alias for field in Settings.model_fields.values()}
    assert settings.service_url() == settings.operations_url() == SECRET
    assert settings.rollout_at == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert settings.rate_limit_waits == (1, 2.5)
    assert (settings.pack_size, settings.max_usd, settings.reasoning_effort) == (7, 4.5, "low")
    assert (settings.budget, settings.tier, settings.chat_price) == ("spring", "flex", "1,0.1,4")


@pytest.mark.parametrize(
    ("given", "seconds"), [({}, 120), ({"tier": "flex"}, 900), ({"tier": "flex", "request_timeout": 7}, 7)]
)
def test_requests_of_the_tier_flex_may_take_longer_unless_a_time_out_is_set(
    given: dict[str, Any], seconds: float
) -> None:
    assert load_settings(**given).timeout_in_force == seconds


def test_what_the_caller_gives_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABOUTNESS_PACK_SIZE", "7")
    monkeypatch.setenv("ABOUTNESS_CHAT_MODEL", "of-the-environment")
    monkeypatch.setenv("ABOUTNESS_MAX_USD", "1")

    settings = load_settings(pack_size=3, chat_model="of-the-caller", max_usd=None)

    assert (settings.pack_size, settings.chat_model, settings.max_usd) == (3, "of-the-caller", 1)


def test_an_empty_variable_counts_as_not_set_but_for_the_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields.values():
        monkeypatch.setenv(str(field.alias), "")

    of_empty_variables = load_settings()

    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias))
    assert of_empty_variables == load_settings(reasoning_effort="")
    assert of_empty_variables.reasoning_effort == ""


def test_other_variables_are_nothing_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABOUTNESS_STAND_IN", "1")
    monkeypatch.setenv("PACK_SIZE", "99")

    assert load_settings().pack_size == 10


def test_a_rollout_without_a_zone_is_in_utc() -> None:
    assert load_settings(rollout_at="2026-03-01T12:00:00").rollout_at == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_rollout_that_is_still_to_come_is_refused() -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    with pytest.raises(SettingsError, match=r"ABOUTNESS_ROLLOUT_AT .* still to come"):
        load_settings(rollout_at=tomorrow.isoformat())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ABOUTNESS_PACK_SIZE", "0"),
        ("ABOUTNESS_PACK_SIZE", "101"),
        ("ABOUTNESS_PACK_SIZE", "ten"),
        ("ABOUTNESS_RANGE_SIZE", "0"),
        ("ABOUTNESS_RATE_LIMIT_WAITS", "15,soon"),
        ("ABOUTNESS_RATE_LIMIT_WAITS", "-1"),
        ("ABOUTNESS_RATE_LIMIT_WAITS", "nan"),
        ("ABOUTNESS_RATE_LIMIT_WAITS", ","),
        ("ABOUTNESS_REQUEST_TIMEOUT", "0"),
        ("ABOUTNESS_REQUEST_TIMEOUT", "nan"),
        ("ABOUTNESS_MAX_IN_FLIGHT", "513"),
        ("ABOUTNESS_REQUESTS_PER_MINUTE", "-1"),
        ("ABOUTNESS_MAX_USD", "-0.01"),
        ("ABOUTNESS_MAX_USD", "nan"),
        ("ABOUTNESS_MAX_USD", "inf"),
        ("ABOUTNESS_ROLLOUT_AT", "yesterday"),
    ],
)
def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=f"^{name}: .*\\.$"):
        load_settings()


def test_every_wrong_setting_is_named_and_no_value_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABOUTNESS_PACK_SIZE", "sesame")
    monkeypatch.setenv("ABOUTNESS_MAX_USD", "sesame")

    with pytest.raises(SettingsError) as refused:
        load_settings(request_timeout="sesame")

    for name in ("ABOUTNESS_PACK_SIZE", "ABOUTNESS_MAX_USD", "request_timeout"):
        assert name in str(refused.value)
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(("given", "expected"), [(None, 60), ("", 60), ("1", 1), ("250", 250)])
def test_partitions_per_run_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, given: str | None, expected: int
) -> None:
    monkeypatch.delenv(PARTITIONS_PER_RUN, raising=False)
    if given is not None:
        monkeypatch.setenv(PARTITIONS_PER_RUN, given)

    assert partitions_per_run() == expected


@pytest.mark.parametrize("given", ["0", "-1", "2.5", "many", "²", " "])
def test_partitions_per_run_that_are_no_number_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv(PARTITIONS_PER_RUN, given)

    with pytest.raises(SettingsError, match=r"^ABOUTNESS_PARTITIONS_PER_RUN: must be a whole number above 0"):
        partitions_per_run()


@pytest.mark.parametrize(
    ("url", "name"), [(Settings.service_url, "DATABASE_URL"), (Settings.operations_url, "DAGSTER_PG_URL")]
)
def test_a_url_that_is_not_set_names_itself_and_the_embedded_environment(url: Any, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not set.*aboutness-local"):
        url(load_settings())


def test_secrets_do_not_show() -> None:
    settings = load_settings(
        database_url=SECRET,
        dagster_pg_url=SECRET,
        openai_api_key="sesame",
        openai_base_url="http://sesame:sesame@localhost/v1?key=sesame",
        extra_headers='{"api-key": "sesame"}',
    )

    assert "sesame" not in repr(settings) + str(settings)


def test_settings_say_what_they_mean() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    "url",
    ["ftp://host/hook", "https://", "/hook", "https://host/a hook", "https://h\n", "https://ann:pass@host/"],
)
@pytest.mark.parametrize("variable", ["ABOUTNESS_WEBHOOK_URL", "ABOUTNESS_UI_URL"])
def test_an_address_that_is_no_web_address_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    monkeypatch.setenv(variable, url)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value) == f"{variable}: Value error, must be an http or https URL without a password."
