"""Counting tokens for an estimate: with OpenAI's tokenizer where it is installed, else by characters."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from aboutness_assets.domain.tokens import estimate_tokens

# Tokens of o200k per character in titles and artists, fitted to 114,000 real songs: names hold more rare
# words and punctuation than the prose for which a quarter of a token per character is the rule.
_ASCII, _LATIN, _TWO_BYTE_SCRIPTS, _OTHER_SCRIPTS = 0.30, 1.28, 0.45, 1.09
_END_OF_LATIN, _END_OF_TWO_BYTES = "\u0250", "\u0800"


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """Two ways to count tokens, and what they rest on.

    text: of English prose and JSON; name: of a title or an artist. source: for people, "o200k tokenizer".
    """

    source: str
    text: Callable[[str], float]
    name: Callable[[str], float]


@cache
def token_counter() -> TokenCounter:
    """The best counter at hand: the tokenizer of the extra ``tokens`` (o200k), else characters.

    The tokenizer takes a second and 140 MB when it counts for the first time, then 5 µs per title.
    """
    if find_spec("bpe_openai") is None:
        return by_characters()
    from bpe_openai import get_encoding  # type: ignore[import-untyped]

    encoding = get_encoding("o200k_base")

    def count(text: str) -> float:
        # Lone surrogates are no text for a tokenizer.
        return len(encoding.encode_ordinary(text.encode("utf-8", "replace").decode()))

    return TokenCounter("o200k tokenizer", count, count)


def by_characters() -> TokenCounter:
    """The counter that needs nothing installed; within 6 % on any 10,000 songs of a mixed catalogue."""
    return TokenCounter("characters", estimate_tokens, name_tokens)


def name_tokens(name: str) -> float:
    """Tokens that a title or an artist is likely to be, by its characters."""
    ascii_characters = len(name.encode("ascii", "ignore"))
    if ascii_characters == len(name):
        return _ASCII * ascii_characters
    latin = sum("\x80" <= character < _END_OF_LATIN for character in name)
    two_byte = sum(_END_OF_LATIN <= character < _END_OF_TWO_BYTES for character in name)
    others = len(name) - ascii_characters - latin - two_byte
    return _ASCII * ascii_characters + _LATIN * latin + _TWO_BYTE_SCRIPTS * two_byte + _OTHER_SCRIPTS * others
