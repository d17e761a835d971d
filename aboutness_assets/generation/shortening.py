"""Cuts a text that is too long where a reader would: after a clause, else after a word."""

import regex  # type: ignore[import-untyped]

FUNCTION_WORDS = frozenset(
    "a an the and or but nor yet so with without of for to from in on at by into onto over "  # noqa: SIM905
    "under between through during after before as like than that which who whose when where while if "
    "because its his her their your my our this these those is are was".split()
)
"""English words that carry no meaning alone and cannot end a text."""

TRAILING_SEPARATORS = " ,;:、，；：-–—*_~|\\/&=<([{·•"
"""Characters that only lead on to more text, which does not come."""

_CLAUSE_END = regex.compile(r"(?<=[,;:.!?…])\s|\s(?=[-–—])")
_CLOSING = {"(": ")", "[": "]", "{": "}", "“": "”", "«": "»"}


def shortened(text: str, limit: int) -> str:
    """Cut text to at most limit characters after its last clause, else its last word, that fits whole.

    A clause that ends in the first half of the limit does not count. '' when not even one word fits.
    """
    if len(text) <= limit:
        return text
    clauses = [end.start() for end in _CLAUSE_END.finditer(text, limit // 2, limit + 1)]
    cut = max(clauses, default=text.rfind(" ", 0, limit + 1))
    return _without_loose_end(text[: max(cut, 0)])


def _without_loose_end(text: str) -> str:
    """Drop what a cut leaves dangling: a bracket or quote never closed, "and", "with the", a comma."""
    text = _without_unclosed(text)
    while True:
        text = text.rstrip("….") if text.endswith(("…", "...")) else text
        text = text.rstrip(TRAILING_SEPARATORS)
        head, _, last = text.rpartition(" ")
        if last.casefold() not in FUNCTION_WORDS:
            return text
        text = head


def _without_unclosed(text: str) -> str:
    """Cut before a bracket or quote in the second half that is never closed; earlier, drop the mark alone."""
    unclosed = [at for at, mark in enumerate(text) if mark in _CLOSING and _CLOSING[mark] not in text[at:]]
    if text.count('"') % 2:
        unclosed.append(text.rfind('"'))
    first = min(unclosed, default=None)
    if first is None:
        return text
    return text[:first] if 2 * first >= len(text) else text[:first] + text[first + 1 :]
