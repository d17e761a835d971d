"""What a preflight finds: one look at a setup, whether it is fit, and what to do where it is not."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal["pass", "warn", "fail", "info"]
"""fail: no run may pay for anything. warn: a run may, but a person should know. info: no check, a figure."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a preflight; what_to_do is a sentence, '' where there is nothing to do."""

    check: str
    found: str
    outcome: Outcome = "pass"
    what_to_do: str = ""

    def __str__(self) -> str:
        """The finding as sentences."""
        return f"{self.check}: {self.found.removesuffix('.')}. {self.what_to_do}".strip()


def failing(findings: Iterable[Finding]) -> list[Finding]:
    """Those that keep a run from starting."""
    return [finding for finding in findings if finding.outcome == "fail"]
