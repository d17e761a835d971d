"""Every setting of the project: its name, type, bounds, default and meaning (CONTRACT: Settings)."""

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from aboutness_assets.domain.errors import SettingsError

NOT_SET = (
    "{name} is not set. Set it to the URL of {what}, or put aboutness-local before the command "
    "to run it in the embedded environment, as in: aboutness-local dagster dev"
)


FLEX_TIMEOUT_SECONDS = 900.0
"""OpenAI's guide to flex processing advises 15 minutes."""

_WEB_ADDRESS = re.compile(r"https?://[^\s/?#@]+(?:[/?#][!-~]*)?", re.ASCII)
"""http or https with a host, without a password, spaces or control characters."""


class Settings(BaseSettings):
    """The settings in force: what the caller gives, else the environment, else the default."""

    # By alias alone: were they populated by name too, a variable PACK_SIZE of somebody else's would count.
    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: SecretStr | None = Field(
        None,
        alias="DATABASE_URL",
        description="The service's Postgres with songs and song_aboutness. A Prisma URL works as it is.",
    )
    catalogue_url: SecretStr | None = Field(
        None,
        alias="ABOUTNESS_CATALOGUE_URL",
        description="A read replica for reads of the catalogue; empty: DATABASE_URL.",
    )
    dagster_pg_url: SecretStr | None = Field(
        None,
        alias="DAGSTER_PG_URL",
        description="Our own Postgres: Dagster's storage and, in its schema aboutness_ops, what we remember.",
    )
    openai_api_key: SecretStr | None = Field(
        None, alias="OPENAI_API_KEY", description="Key of the OpenAI-compatible endpoint."
    )
    openai_base_url: str | None = Field(
        None,
        alias="OPENAI_BASE_URL",
        repr=False,  # a password or a key may be part of it
        description="Base URL of any OpenAI-compatible endpoint, with its query; empty: OpenAI's.",
    )
    extra_headers: SecretStr | None = Field(
        None,
        alias="ABOUTNESS_EXTRA_HEADERS",
        description="Headers that every request to the provider carries, a JSON object.",
    )
    chat_model: str = Field(
        "gpt-6-luna",
        alias="ABOUTNESS_CHAT_MODEL",
        min_length=1,
        max_length=200,
        description="The model that writes the texts.",
    )
    reasoning_effort: str = Field(
        "none",
        alias="ABOUTNESS_REASONING_EFFORT",
        max_length=50,
        description="Reasoning effort of the chat model; empty: not sent.",
    )
    embedding_model: str = Field(
        "text-embedding-3-small",
        alias="ABOUTNESS_EMBEDDING_MODEL",
        min_length=1,
        max_length=200,
        description="The model that embeds the texts; its dimension follows the table's columns.",
    )
    pack_size: int = Field(
        10, alias="ABOUTNESS_PACK_SIZE", ge=1, le=100, description="Songs in one chat request."
    )
    range_size: int | None = Field(
        None,
        alias="ABOUTNESS_RANGE_SIZE",
        ge=1,
        le=10_000_000,
        description="Songs per partition when partitions are first created; empty: 1,000, more where the "
        "catalogue has over ten million songs.",
    )
    songs_query: str = Field(
        "select song_id, title, artist from songs",
        alias="ABOUTNESS_SONGS_QUERY",
        min_length=1,
        description="A SELECT that yields song_id, title, artist; it is used as a subquery.",
    )
    rollout_at: datetime = Field(
        datetime(2026, 2, 20, tzinfo=UTC),
        alias="ABOUTNESS_ROLLOUT_AT",
        description="ISO time (UTC where it names no zone); rows created before it are old-style rows.",
    )
    rate_limit_waits: Annotated[tuple[float, ...], NoDecode] = Field(
        (15.0, 30.0),
        alias="ABOUTNESS_RATE_LIMIT_WAITS",
        min_length=1,
        description="Seconds to wait after the first, second … 429 that names no time, as in 15,30.",
    )
    request_timeout: float = Field(
        120,
        alias="ABOUTNESS_REQUEST_TIMEOUT",
        gt=0,
        le=3600,
        description="Seconds for one HTTP request; 900 in the tier flex, unless set.",
    )
    give_up_after: float = Field(
        60,
        alias="ABOUTNESS_GIVE_UP_AFTER",
        gt=0,
        le=10_080,
        description="Minutes without one answer after which a run that waits (429, provider away) stops.",
    )
    max_in_flight: int = Field(
        0,
        alias="ABOUTNESS_MAX_IN_FLIGHT",
        ge=0,
        le=512,
        description="Chat requests in flight in one process at most; 0: as many as limit x latency asks for.",
    )
    requests_per_minute: int = Field(
        0,
        alias="ABOUTNESS_REQUESTS_PER_MINUTE",
        ge=0,
        le=10_000_000,
        description="The account's chat requests a minute; 0: learn them from the response headers.",
    )
    tokens_per_minute: int = Field(
        0,
        alias="ABOUTNESS_TOKENS_PER_MINUTE",
        ge=0,
        le=100_000_000_000,
        description="The account's chat tokens a minute; 0: learn them from the response headers.",
    )
    max_usd: float | None = Field(
        None,
        alias="ABOUTNESS_MAX_USD",
        ge=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="Hard cap, in dollars, on what the budget may spend over all runs; empty: none.",
    )
    budget: str = Field(
        "default",
        alias="ABOUTNESS_BUDGET",
        min_length=1,
        max_length=100,
        description="Name of the budget that spending counts against; a new name starts at zero.",
    )
    tier: Literal["standard", "flex"] = Field(
        "standard",
        alias="ABOUTNESS_TIER",
        description="standard, or flex: half price, slower, sent as service_tier.",
    )
    chat_price: str | None = Field(
        None,
        alias="ABOUTNESS_CHAT_PRICE",
        max_length=200,
        description="Dollars per million tokens, input,cached,output; wins over the price list.",
    )
    embedding_price: str | None = Field(
        None,
        alias="ABOUTNESS_EMBEDDING_PRICE",
        max_length=200,
        description="Dollars per million tokens; wins over the price list.",
    )

    otlp_endpoint: str = Field(
        "",
        alias="ABOUTNESS_OTLP_ENDPOINT",
        repr=False,
        description="Base URL of a collector to send metrics to, OTLP over HTTP; empty: none are counted.",
    )
    quarantine_after: int = Field(
        3,
        alias="ABOUTNESS_QUARANTINE_AFTER",
        ge=1,
        description="Runs in which a song may fail by its own fault before it is not paid for again.",
    )
    breaker_unavailable: int = Field(
        5,
        alias="ABOUTNESS_BREAKER_UNAVAILABLE",
        ge=1,
        description="Chat requests given up in a row after which the run stops: the provider is down.",
    )
    breaker_bad_share: float = Field(
        0.5,
        alias="ABOUTNESS_BREAKER_BAD_SHARE",
        ge=0,
        le=1,
        description="Share of the last 50 answers without a usable entry above which a run stops; 1: never.",
    )
    webhook_url: SecretStr | None = Field(
        None,
        alias="ABOUTNESS_WEBHOOK_URL",
        description="Where failed runs are told, Slack-compatible; empty: nowhere.",
    )
    ui_url: str = Field(
        "http://127.0.0.1:3000",
        alias="ABOUTNESS_UI_URL",
        description="Where people open Dagster's UI; messages link to it.",
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, given: Any) -> Any:
        return {
            name: value
            for name, value in given.items()
            if value != "" or name == "ABOUTNESS_REASONING_EFFORT"  # empty: not sent
        }

    @field_validator("rollout_at")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    @field_validator("rate_limit_waits", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("rate_limit_waits")
    @classmethod
    def _not_negative(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= seconds <= 3600 for seconds in value):
            raise ValueError("each wait must lie between 0 and 3600 seconds")
        return value

    @field_validator("webhook_url", "ui_url")
    @classmethod
    def _is_web_address(cls, value: SecretStr | str | None) -> SecretStr | str | None:
        if value is not None:
            url = value if isinstance(value, str) else value.get_secret_value()
            if not _WEB_ADDRESS.fullmatch(url):
                raise ValueError("must be an http or https URL without a password")
        return value

    @property
    def timeout_in_force(self) -> float:
        """Seconds for one HTTP request; by default longer in the tier flex, where requests wait."""
        is_set = "request_timeout" in self.model_fields_set
        return self.request_timeout if is_set or self.tier == "standard" else FLEX_TIMEOUT_SECONDS

    def service_url(self) -> str:
        """DATABASE_URL as the user wrote it. Raises SettingsError when it is not set."""
        if self.database_url is None:
            raise SettingsError(NOT_SET.format(name="DATABASE_URL", what="the service's Postgres"))
        return self.database_url.get_secret_value()

    def replica_url(self) -> str | None:
        """ABOUTNESS_CATALOGUE_URL as the user wrote it; None where it is not set."""
        return None if self.catalogue_url is None else self.catalogue_url.get_secret_value()

    def operations_url(self) -> str:
        """DAGSTER_PG_URL as the user wrote it. Raises SettingsError when it is not set."""
        if self.dagster_pg_url is None:
            raise SettingsError(NOT_SET.format(name="DAGSTER_PG_URL", what="a Postgres of our own"))
        return self.dagster_pg_url.get_secret_value()


PARTITIONS_PER_RUN = "ABOUTNESS_PARTITIONS_PER_RUN"
DEFAULT_PARTITIONS_PER_RUN = 60


def partitions_per_run() -> int:
    """How many ranges one run of a backfill fills; read once, when Dagster loads the definitions.

    Raises SettingsError where the variable holds no whole number above 0.
    """
    given = os.environ.get(PARTITIONS_PER_RUN) or str(DEFAULT_PARTITIONS_PER_RUN)
    if not (given.isascii() and given.isdigit() and int(given) > 0):
        raise SettingsError(f"{PARTITIONS_PER_RUN}: must be a whole number above 0.")
    return int(given)


OWNER = "ABOUTNESS_OWNER"


def owner() -> str:
    """Who answers for the assets, as Dagster's UI shows it; '' where nobody is named.

    An email address, or the name of a team, with or without ``team:``. Read when Dagster loads the
    definitions. Raises SettingsError where it is neither.
    """
    given = os.environ.get(OWNER, "").strip()
    if not given or re.fullmatch(r"[\w.%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}", given, re.ASCII):
        return given
    team = re.fullmatch(r"(?:team:)?\s*([\w.-][\w. -]{0,99})", given)
    if team is None:
        raise SettingsError(
            f"{OWNER}: must be an email address or the name of a team, as in team:music or ann@example.com."
        )
    return f"team:{team[1]}"


def database_url_if_set() -> str:
    """DATABASE_URL as the user wrote it, for what is shown of it when Dagster loads the definitions."""
    return os.environ.get("DATABASE_URL", "")


def load_settings(**overrides: Any) -> Settings:
    """The settings in force; overrides go by field name, and one that is None counts as not given.

    Raises SettingsError, one sentence a wrong setting, never with the value of it: by field name where the
    value was an override, else by variable.
    """
    given = {
        str(Settings.model_fields[name].alias): value
        for name, value in overrides.items()
        if value is not None
    }
    try:
        settings = Settings(**given)
    except ValidationError as invalid:
        names = {str(Settings.model_fields[name].alias): name for name in overrides}
        overridden = {variable: names[variable] for variable in given}
        sentences = [_sentence(error, overridden) for error in invalid.errors()]
        raise SettingsError(" ".join(sentences)) from None
    if settings.rollout_at > datetime.now(UTC):
        raise SettingsError(
            f"ABOUTNESS_ROLLOUT_AT is {settings.rollout_at.isoformat()}, which is still to come: "
            "every new row would count as old-style. Set it to when the new style was introduced."
        )
    return settings


def _sentence(error: Any, field_names: Mapping[str, str]) -> str:
    variable = error["loc"][0] if error["loc"] else "A setting"
    return f"{field_names.get(variable, variable)}: {error['msg']}."
