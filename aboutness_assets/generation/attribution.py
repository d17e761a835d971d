"""Whose texts are these? Tells an entry that is about another song of the pack, or about no song of it."""

from collections.abc import Mapping
from difflib import SequenceMatcher
from itertools import combinations
from typing import Any

import regex  # type: ignore[import-untyped]

from aboutness_assets.domain.songs import Aboutness
from aboutness_assets.generation.shortening import FUNCTION_WORDS
from aboutness_assets.generation.song_fields import letters_and_digits

# Measured on 20,000 titles of a real catalogue in packs of ten: every swap is seen, and 91 % of titles
# from elsewhere; of titles that lost brackets, accents, case or two letters, at most 1 in 1,000 is doubted.
_SHORTENED = 0.9  # likeness of a spelling that lacks the end of the other: "(feat. …)", "- 2011 Remaster"
_ALIKE = 0.8  # from here on an echo is taken for a spelling of another song's title
_UNLIKE = 0.5  # below, it is not a spelling of the song's own
_TOO_SHORT_TO_JUDGE = 4  # letters and digits; "7" may well come back as "Seven"
_LONGEST_ECHO = 300  # characters; a title is sent with 200 at most
_MOST_COMPARED = 100  # letters and digits; comparing takes the square of them, at worst their cube
_LATIN = regex.compile(r"[\p{Latin}\p{N}]")
_PART = regex.compile(r"\s+[-–—:|/]\s+|\s+by\s+")


def _likeness(one: str, other: str) -> float:
    """Return how alike two spellings are, from 0 to 1, whatever their case, width, accents and signs."""
    one, other = letters_and_digits(one) or one, letters_and_digits(other) or other
    if one == other:
        return 1.0
    shorter, longer = sorted((one, other), key=len)
    if shorter and (longer.startswith(shorter) or (len(shorter) > _TOO_SHORT_TO_JUDGE and shorter in longer)):
        return _SHORTENED
    compared = one[:_MOST_COMPARED], other[:_MOST_COMPARED]
    return SequenceMatcher(None, *compared, autojunk=False).ratio()


def echoes_another(echo: Any, key: str, sent: Mapping[str, str]) -> bool:
    """Tell whether a title or artist that the entry under key repeats is clearly not that song's own.

    sent: what the request said, by key. An entry without an echo passes. An echo in another script may be a
    transliteration: it counts only when it is another song's.
    """
    own = sent[key]
    if not isinstance(echo, str) or not echo.strip() or echo == own:
        return False
    echo = echo.strip()[:_LONGEST_ECHO]
    likeness = _likeness(echo, own)
    if likeness == 1:
        return False
    nearest = max((_likeness(echo, title) for other, title in sent.items() if other != key), default=0)
    if nearest >= _ALIKE and nearest > likeness:
        return True
    can_be_judged = all(
        _LATIN.search(spelling) and len(letters_and_digits(spelling)) >= _TOO_SHORT_TO_JUDGE
        for spelling in (echo, own)
    )
    # "Artist - Title" is an echo of the title too.
    holds_own = any(_likeness(part, own) == 1 for part in _PART.split(echo))
    return can_be_judged and likeness < _UNLIKE and not holds_own


_WORD = regex.compile(r"\w+")
_ENDING = regex.compile(r"(?<=\p{L}{3})(?:ness|ing|ed|es|s|ly)\Z")


def _content_words(text: str) -> frozenset[str]:
    """Return the words that distinguish a text: without order, function words and endings."""
    words = _WORD.findall(text.casefold())
    return frozenset(_ENDING.sub("", word) for word in words if word not in FUNCTION_WORDS)


def keys_with_same_texts(read: Mapping[str, Aboutness], titles: Mapping[str, str]) -> set[str]:
    """Return the keys of songs both of whose texts say in the same words what another song's say.

    One word that differs, such as a name or a number, is enough to tell texts apart. Two versions of one
    song, by their titles, may well say the same. Where every song of three or more has the same texts, the
    set is empty: that model does not distinguish songs, and asking for each alone would only cost more.
    """
    alike: dict[frozenset[str], list[str]] = {}
    for key, texts in read.items():
        alike.setdefault(_content_words(texts.emotions_text), []).append(key)
    found: set[str] = set()
    for keys in alike.values():
        for one, other in combinations(keys, 2):
            moments = {_content_words(read[key].moments_text) for key in (one, other)}
            if len(moments) == 1 and _likeness(titles[one], titles[other]) < _SHORTENED:
                found |= {one, other}
    distinguishes_none = len(alike) == 1 and len(found) == len(read) > 2
    return set() if distinguishes_none else found
