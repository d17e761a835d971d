"""A song's own words: made fit for a request, and compared with what comes back. Texts are cleaning.py's."""

import unicodedata
from functools import lru_cache
from itertools import takewhile

import regex  # type: ignore[import-untyped]

_UNSENDABLE = regex.compile(r"(?V1)[[\p{Cc}\p{Cs}]--\s]")


@lru_cache(maxsize=16_384)  # a song's fields are needed in its request and again with its answer
def clean_song_field(value: str, max_characters: int) -> str:
    """Return a title or an artist fit for a request: one line of at most max_characters characters.

    Without control characters and lone surrogates, white space folded, cut between graphemes; otherwise
    as the service spells it.
    """
    text = " ".join(_UNSENDABLE.sub("", value).split())
    if len(text) <= max_characters:
        return text
    ends = takewhile(
        lambda end: end <= max_characters, (found.end() for found in regex.finditer(r"\X", text))
    )
    return text[: max(ends, default=max_characters)].rstrip()


def letters_and_digits(text: str) -> str:
    """Return what two spellings of one title share: letters and digits without case, width and accents."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text).casefold()))
