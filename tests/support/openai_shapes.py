"""Holds documents against the shapes of OpenAI's own OpenAPI document.

The shapes lie beside the project and are no part of it: where they are absent, nothing is found wrong, and
the tests that exist for them are skipped.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

SHAPES = Path(__file__).parents[3] / "shared/data/openai_shapes.json"

needs_shapes = pytest.mark.skipif(
    not SHAPES.is_file(), reason="../shared/data/openai_shapes.json is not beside the project."
)


def errors_of(shape: str, document: object) -> list[str]:
    """What of a document is not of a shape, a sentence each."""
    if not SHAPES.is_file():
        return []
    return [f"{error.json_path}: {error.message[:300]}" for error in _validator(shape).iter_errors(document)]


@cache
def _validator(shape: str) -> Any:
    return Draft202012Validator({"$ref": f"#/components/schemas/{shape}", **_document()})


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = _with_null(json.loads(SHAPES.read_bytes()))
    return document


def _with_null(schema: Any) -> Any:
    """OpenAPI 3.0's ``nullable``, which JSON Schema does not know, in its own terms."""
    if isinstance(schema, list):
        return [_with_null(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    known = {name: _with_null(part) for name, part in schema.items() if name != "nullable"}
    return {"anyOf": [known, {"type": "null"}]} if schema.get("nullable") is True else known
