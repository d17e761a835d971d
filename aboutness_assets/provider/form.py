"""The form of a request: which optional parts it has, and how it is found out what an endpoint takes.

Arithmetic on what was answered and refused; who sends is capabilities.py.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Form: TypeAlias = tuple[int, ...]
"""For each part the level at which it is sent: 0 as wanted, the last one not at all."""

MAX_SERVER_ERRORS = 3
"""HTTP 500s after which hints are no longer followed: the plain form is to be tried before retries end."""


@dataclass(frozen=True, slots=True)
class Level:
    """One way to send a part.

    name: as it is remembered. refused: what follows if it is refused, a sentence; the last level needs none.
    """

    name: str
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """An optional part of a request.

    name: as it is remembered; a value that matters belongs to it. words: what in a refusal hints at it, in
    whatever terms the endpoint's own software has for it. levels: the last one leaves it out.
    """

    name: str
    words: re.Pattern[str]
    levels: tuple[Level, ...]


class FormRefused(Exception):
    """An endpoint refused a request that has parts which it was never seen to take.

    meaning: what the refusal means if it is not about the form. text: the provider's words in full, to search
    in, never to show. names_cause: it says that something else is the matter (its content, an unknown model).
    server_errors: how often in a row the request has failed, at last with HTTP 500 or 501, as trouble says in
    half a sentence; 0 where it was refused with 4xx.
    """

    def __init__(
        self,
        meaning: Exception,
        text: str,
        *,
        names_cause: bool = False,
        server_errors: int = 0,
        trouble: str = "",
    ) -> None:
        super().__init__(str(meaning))
        self.meaning = meaning
        self.text = text
        self.names_cause = names_cause
        self.server_errors = server_errors
        self.trouble = trouble


@dataclass(slots=True)
class Knowledge:
    """What is known of each part at one endpoint and model.

    best: the first level that was not seen to be refused. proven: the first level that a request had which
    was answered; None where none was. A part is settled where both agree.
    """

    parts: Sequence[Part]
    best: list[int] = field(init=False)
    proven: list[int] | None = field(init=False, default=None)
    _suspicions: set[tuple[int, int]] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.best = [0] * len(self.parts)

    @property
    def plain(self) -> Form:
        """The form without any optional part."""
        return tuple(len(part.levels) - 1 for part in self.parts)

    @property
    def form(self) -> Form:
        """What to send: what was answered, or, before any answer, all that was not refused."""
        return tuple(self.best if self.proven is None else self.proven)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to find out."""
        return self.proven == self.best

    def settled(self) -> dict[str, str]:
        """The level of each settled part, both by name."""
        return {
            part.name: part.levels[best].name
            for part, best, proven in zip(self.parts, self.best, self.proven or (), strict=False)
            if best == proven
        }

    def recall(self, settled: dict[str, str]) -> None:
        """Take over what ``settled`` returned elsewhere, if it says something of every part."""
        levels = [
            next((n for n, level in enumerate(part.levels) if level.name == settled.get(part.name)), None)
            for part in self.parts
        ]
        if None not in levels:
            self.best = [level for level in levels if level is not None]
            self.proven = list(self.best)

    def answered(self, form: Form, refused: Sequence[tuple[Form, FormRefused]] = ()) -> None:
        """A request was answered in this form, after it had been refused in others.

        A level counts as refused where the answered form differs from a refused one by it alone. Of HTTP 500
        it takes two such requests, as a fault that has passed meanwhile looks the same.
        """
        before = self.proven or self.plain
        self.proven = [min(levels) for levels in zip(before, form, strict=True)]
        for other, refusal in refused:
            changed = [part for part in range(len(form)) if other[part] != form[part]]
            if len(changed) != 1 or other[changed[0]] > form[changed[0]]:
                continue
            suspicion = (changed[0], other[changed[0]])
            if refusal.server_errors and suspicion not in self._suspicions:
                self._suspicions.add(suspicion)
            else:
                self.best[changed[0]] = max(self.best[changed[0]], other[changed[0]] + 1)
        # What one request had and was answered with, another may be refused with for reasons of its own.
        self.best = [min(levels) for levels in zip(self.best, self.proven, strict=True)]

    def candidates(self) -> Generator[Form, FormRefused, None]:
        """The forms in which to try one request, the best first; each must be sent the refusal of the last.

        The last of them is what was answered before, or the plain form.
        - Before the first answer: without what a refusal hints at, then without each other part by itself,
          then plain. HTTP 500 may be a fault that passes: the same form again, then plain.
        - After it, what is not settled is put back, one part per request.
        """
        if self.proven is not None:
            yield from self._put_back(tuple(self.proven))
            return
        tried: set[Form] = set()
        best = tuple(self.best)
        form, refusal = yield from self._following_hints(best, tried)
        if refusal.server_errors and form == best:
            refusal = yield best
        for part, level in self._single_levels(form):
            if refusal.names_cause or refusal.server_errors:
                break
            single = _at(form, part, level)
            if single not in tried and single != self.plain:
                _, refusal = yield from self._following_hints(single, tried)
        if self.plain not in tried:
            yield self.plain

    def _following_hints(
        self, form: Form, tried: set[Form]
    ) -> Generator[Form, FormRefused, tuple[Form, FormRefused]]:
        """A form, then each that a refusal hints at; the last of them and its refusal."""
        while True:
            tried.add(form)
            refusal = yield form
            part = self._hinted(refusal.text, form) if refusal.server_errors < MAX_SERVER_ERRORS else None
            if part is None or (lower := _at(form, part, form[part] + 1)) in tried:
                return form, refusal
            form = lower

    def _put_back(self, proven: Form) -> Iterator[Form]:
        for part, best in enumerate(self.best):
            if best < proven[part]:
                for level in range(best, proven[part]):
                    yield _at(proven, part, level)
                break
        yield proven

    def _hinted(self, text: str, form: Form) -> int | None:
        """The part that the words are about, of those that this form sends."""
        return next(
            (
                number
                for number, part in enumerate(self.parts)
                if form[number] < len(part.levels) - 1 and part.words.search(text)
            ),
            None,
        )

    def _single_levels(self, form: Form) -> Iterator[tuple[int, int]]:
        """Every part and lower level, the smallest changes first."""
        for step in range(1, max(len(part.levels) for part in self.parts)):
            for number, part in enumerate(self.parts):
                if form[number] + step < len(part.levels):
                    yield number, form[number] + step


def _at(form: Form, part: int, level: int) -> Form:
    return (*form[:part], level, *form[part + 1 :])
