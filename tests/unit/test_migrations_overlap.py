"""Code of the version before a migration works on the schema after it, or the migration says otherwise."""

import re

import pytest

from aboutness_assets.database.operations.schema import read_migrations

FIRST_THAT_OVERLAPS = 17
"""Code that knows fewer than 16 migrations refuses every newer schema."""

TAKES_AWAY = re.compile(
    r"""\bdrop\s+(table|column|view|function|type|schema)\b | \brename\b
    | \balter\s+column\s+\w+\s+(set\s+data\s+)?type\b
    | \bset\s+not\s+null\b | \badd\s+(constraint|check|unique|foreign|primary)\b | \btruncate\b
    | \badd\s+column\b (?= [^,;]* \bnot\s+null\b) (?! [^,;]* \bdefault\b)""",
    re.IGNORECASE | re.VERBOSE,
)


def without_comments(statements: str) -> str:
    return re.sub(r"--[^\n]*", "", statements)


def problem(number: int, statements: str) -> str:
    """What older code could not live with and the migration does not announce; '' where there is nothing."""
    text = without_comments(statements)
    if re.search(rf"\bset\s+compatible_since\s*=\s*{number}\b", text):
        return ""
    return found[0] if (found := TAKES_AWAY.search(text)) else ""


@pytest.mark.parametrize("number", [n for n in read_migrations() if n >= FIRST_THAT_OVERLAPS] or [16])
def test_a_migration_adds_or_says_that_older_code_cannot_live_with_it(number: int) -> None:
    assert not problem(number, read_migrations()[number].decode()), (
        "Add only (CONTRIBUTING.md, Add a migration), or let the migration execute: "
        f"update aboutness_ops.schema_version set compatible_since = {number}"
    )


@pytest.mark.parametrize(
    ("statements", "is_found"),
    [
        ("alter table a add column b text", False),
        ("alter table a add column b text not null default ''; -- drop table a", False),
        ("create or replace function f() returns int language sql as 'select 1'", False),
        ("alter table a add column b text not null", True),
        ("drop function f(int)", True),
        ("alter table a rename column b to c", True),
        ("alter table a alter column b type bigint", True),
        ("alter table a drop column b; update aboutness_ops.schema_version set compatible_since = 20", False),
        ("alter table a drop column b; update aboutness_ops.schema_version set compatible_since = 19", True),
    ],
)
def test_what_takes_something_away_is_found(statements: str, is_found: bool) -> None:
    assert bool(problem(20, statements)) is is_found
