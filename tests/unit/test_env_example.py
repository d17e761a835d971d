""".env.example names every setting with its default."""

import re
from pathlib import Path

import pytest

from aboutness_assets.settings import (
    DEFAULT_PARTITIONS_PER_RUN,
    OWNER,
    PARTITIONS_PER_RUN,
    Settings,
    load_settings,
)

TEXT = (Path(__file__).parents[2] / ".env.example").read_text("utf-8")
EXAMPLE = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", TEXT, re.MULTILINE))
MUST_BE_SET = ("DATABASE_URL", "DAGSTER_PG_URL", "OPENAI_API_KEY")
DEFAULTS = {name: value for name, value in EXAMPLE.items() if name.startswith("ABOUTNESS_")}


def test_every_setting_is_there() -> None:
    when_definitions_load = {PARTITIONS_PER_RUN, OWNER}
    assert set(EXAMPLE) == {field.alias for field in Settings.model_fields.values()} | when_definitions_load


def test_what_must_be_set_is_not_commented_out() -> None:
    assert tuple(re.findall(r"^([A-Z_]+)=", TEXT, re.MULTILINE)) == MUST_BE_SET


def test_the_values_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EXAMPLE:
        monkeypatch.delenv(name, raising=False)
    defaults = load_settings()
    for name, value in DEFAULTS.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == defaults
    assert DEFAULTS[PARTITIONS_PER_RUN] == str(DEFAULT_PARTITIONS_PER_RUN)
