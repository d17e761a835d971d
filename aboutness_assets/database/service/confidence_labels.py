"""How the service spells the three confidences: an enum or a CHECK may have them in another case. No I/O."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, get_args

from aboutness_assets.domain.songs import Confidence

Labels: TypeAlias = Mapping[Confidence, str]
"""What is written for each confidence."""

CONFIDENCES: tuple[Confidence, ...] = get_args(Confidence)

AS_THEY_ARE: Labels = {confidence: confidence for confidence in CONFIDENCES}
"""The spelling wherever the column demands no other one."""

_LITERAL = re.compile(r"'((?:[^']|'')*)'")
_WORD = re.compile(r"\b(?:low|medium|high)\b", re.IGNORECASE)


def labels_among(labels: Iterable[str]) -> Labels | None:
    """The three confidences as these labels spell them; None where one of the three is not among them."""
    spelled = list(labels)
    found: dict[Confidence, str] = {}
    for confidence in CONFIDENCES:
        fitting = [label for label in spelled if label.lower() == confidence]
        if not fitting:
            return None
        found[confidence] = confidence if confidence in fitting else fitting[0]
    return found


def labels_in_checks(definitions: Sequence[str]) -> Labels:
    """The spelling that a column's CHECK constraints name, as pg_get_constraintdef prints them.

    Where they do not name all three, the confidences stay as they are: whether Postgres takes them shows when
    a row is inserted.
    """
    for definition in definitions:
        words = [word for literal in _LITERAL.findall(definition) for word in _WORD.findall(literal)]
        if labels := labels_among(words):
            return labels
    return AS_THEY_ARE
