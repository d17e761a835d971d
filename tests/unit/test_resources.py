"""What the launchpad may override, and that nobody can send a key or a query elsewhere from it."""

import dagster as dg
import pytest

from aboutness_assets.domain.errors import SettingsError
from aboutness_assets.orchestration.jobs import replay_failed_songs
from aboutness_assets.orchestration.launchpad_types import looks_secret
from aboutness_assets.orchestration.resources import SettingsResource, _override
from aboutness_assets.settings import Settings

FROM_THE_ENVIRONMENT_ALONE = {
    "database_url",
    "catalogue_url",
    "otlp_endpoint",
    "dagster_pg_url",
    "openai_api_key",
    "openai_base_url",
    "extra_headers",
    "songs_query",
    "rollout_at",
    "range_size",
    "quarantine_after",
    "breaker_unavailable",
    "breaker_bad_share",
}


def test_overrides_are_settings_and_none_of_them_names_an_address_a_key_or_a_query() -> None:
    offered = SettingsResource.model_fields.keys()
    assert offered <= Settings.model_fields.keys()
    assert not offered & FROM_THE_ENVIRONMENT_ALONE


def test_what_is_safe_to_change_for_one_run_is_offered() -> None:
    assert SettingsResource.model_fields.keys() >= {
        *("chat_model", "reasoning_effort", "embedding_model", "pack_size", "max_in_flight", "tier"),
        *("requests_per_minute", "tokens_per_minute", "budget", "max_usd", "chat_price", "embedding_price"),
        *("rate_limit_waits", "request_timeout", "give_up_after"),
    }


def test_an_override_wins_over_the_environment_and_what_is_empty_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ABOUTNESS_PACK_SIZE", "7")
    monkeypatch.setenv("ABOUTNESS_RATE_LIMIT_WAITS", "1,2")
    settings = SettingsResource(rate_limit_waits="3,4").load()
    assert (settings.pack_size, settings.rate_limit_waits) == (7, (3.0, 4.0))


def test_an_override_out_of_bounds_fails_with_a_sentence_and_is_not_retried() -> None:
    with pytest.raises(dg.Failure, match=r"^pack_size: .* less than or equal to 100") as failure:
        SettingsResource(pack_size=101).load()
    assert not failure.value.allow_retries


def test_a_wrong_variable_is_named_as_the_variable_that_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABOUTNESS_PACK_SIZE", "0")
    monkeypatch.setenv("ABOUTNESS_GIVE_UP_AFTER", "soon")
    with pytest.raises(dg.Failure, match=r"^pack_size: .* ABOUTNESS_GIVE_UP_AFTER: ") as failure:
        SettingsResource(pack_size=101).load()
    assert "ABOUTNESS_PACK_SIZE" not in str(failure.value)


def test_the_launchpad_shows_the_meaning_the_default_and_the_bounds() -> None:
    descriptions = {name: field.description for name, field in SettingsResource.model_fields.items()}
    assert descriptions["pack_size"] == (
        "Songs in one chat request. Default: 10. Bounds: at least 1, at most 100."
    )
    assert "Default: 15,30." in str(descriptions["rate_limit_waits"])
    assert "Default: empty." in str(descriptions["max_usd"])
    for name, description in descriptions.items():
        assert "Bounds: " in str(description) or name in ("tier", "rate_limit_waits")


@pytest.mark.parametrize(
    ("given", "shown"),
    [("7", "In force unless set here: 7 (ABOUTNESS_PACK_SIZE)."), ("sk-a-b-c-d-e-f-g", "not shown, as it")],
)
def test_the_launchpad_shows_what_is_in_force(
    monkeypatch: pytest.MonkeyPatch, given: str, shown: str
) -> None:
    monkeypatch.setenv("ABOUTNESS_PACK_SIZE", given)
    assert shown in _override("pack_size").description


KEY = "c0rrect-h0rse"
URL = "postgresql://user:b%40ttery-staple@db.internal/service"


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/v1",
        "postgres://u@h/d",
        "user:password@host",
        "host=db password=x",
        "sk-proj-abcdefgh",
        "SK_live_abcdefgh",
        "my key is gsk_abcdefgh1",
        "ghp_abcdefghij",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA-1234567890abcdef",
        "eyJhbGciOiJIUzI1NiJ9.e30.x",
        "Bearer abcdefgh",
        "-----BEGIN PRIVATE KEY-----",
        "0123456789abcdef0123456789abcdef",
        "aB3dE6gH9jK2mN5pQ8sT1vW4",
        f"model {KEY}",
        "b@ttery-staple",
        "b%40ttery-staple",
    ],
)
def test_what_looks_like_a_secret_or_an_address_is_known(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MY_API_KEY", KEY)
    monkeypatch.setenv("DATABASE_URL", URL)
    assert looks_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "gpt-6-luna",
        "ft:gpt-4o-mini-2024-07-18:my-org:custom-suffix:9AbCdEf0",
        "Qwen/Qwen2.5-Coder-1.5B-Instruct-AWQ",
        "mistralai/Mixtral8x7BInstructV01",
        "@cf/meta/llama-3.1-8b-instruct",
        "llama3:8b@sha256:0123456789abcdef0123456789abcdef",
        "accounts/fireworks/models/llama-v3p1-405b-instruct",
        "pplx-7b-online",
        "us.anthropic.claude-sonnet-4-20250514-v1:0",
        "task-assessment of 2026",
        "Ann's trial, 25 November",
        "0.10,0.01,0.50 (pretend price of the tests)",
        "15,30",
    ],
)
def test_names_of_models_and_budgets_look_like_no_secret(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MY_API_KEY", KEY)
    monkeypatch.setenv("EMPTY_TOKEN", "")
    assert not looks_secret(text)


@dg.op
def show_model(context: dg.OpExecutionContext, settings: SettingsResource) -> None:
    context.log.info(f"model {settings.chat_model}")


@dg.job(resource_defs={"settings": SettingsResource()})
def showing() -> None:
    show_model()


def settings_config(**fields: object) -> dict[str, object]:
    return {"resources": {"settings": {"config": fields}}}


@pytest.mark.parametrize(
    "config",
    [
        settings_config(chat_model="sk-proj-do-not-store"),
        settings_config(budget="https://do-not-store.example"),
        settings_config(chat_price="do-not-store"),
        settings_config(chat_model={"env": "SOME_KEY"}),
        settings_config(pack_size={"env": "SOME_KEY"}),
        settings_config(max_usd={"env": "SOME_KEY"}),
    ],
)
def test_a_run_with_a_secret_in_its_configuration_is_not_created(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, object]
) -> None:
    monkeypatch.setenv("SOME_KEY", "do-not-store")
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises((SettingsError, dg.DagsterInvalidConfigError)) as refused:
            showing.execute_in_process(config, instance=instance)
        assert "do-not-store" not in str(refused.value)
        assert instance.get_runs() == []


@pytest.mark.parametrize("config", [{"cause": {"env": "SOME_KEY"}}, {"song_ids": [{"env": "SOME_KEY"}]}])
def test_the_replay_reads_no_variable_either(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, object]
) -> None:
    monkeypatch.setenv("SOME_KEY", "12345678")
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(dg.DagsterInvalidConfigError) as refused:
            replay_failed_songs.execute_in_process(
                {"ops": {"replay_songs": {"config": config}}},
                instance=instance,
                resources={"settings": SettingsResource()},
            )
        assert "12345678" not in str(refused.value)
        assert instance.get_runs() == []


def test_fields_take_what_they_are_for() -> None:
    run = showing.execute_in_process(
        settings_config(chat_model="gpt-6-luna", pack_size=5, max_usd=1.5, budget=None),
        instance=dg.DagsterInstance.ephemeral(),
    )
    assert run.success
