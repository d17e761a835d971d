"""Faults of one song's entry: invalid texts and confidences, and texts of another song."""

import re
import unicodedata
from collections.abc import Callable
from random import Random

from aboutness_local.exchange import Exchange
from aboutness_local.faults.completion import (
    Entry,
    echoes_titles,
    holds_several_songs,
    positions,
    read_songs,
    write_songs,
)
from aboutness_local.faults.registry import fault

TEXTS = ("emotions_text", "moments_text")
CONFIDENCES = ("emotions_confidence", "moments_confidence")

# A song's own texts, badly written.


@fault("chat")
def over_long_text(exchange: Exchange, rng: Random) -> None:
    """A text of several hundred characters."""
    _alter_text(exchange, rng, lambda text: ", ".join([text] * 8))


@fault("chat")
def confidence_tag(exchange: Exchange, rng: Random) -> None:
    """A text that ends in a confidence tag, in any case."""
    tag = "".join(rng.choice([letter.upper(), letter]) for letter in " [confidence: high]")
    _alter_text(exchange, rng, lambda text: text + tag)


SPELLINGS_OF_A_TAG = (
    "[Confidence : HIGH]",
    "[ confidence:low ]",
    "[CONFİDENCE: MEDIUM]",
    "[conﬁdence: high]",
    "［ｃｏｎｆｉｄｅｎｃｅ：ｈｉｇｈ］",
    "[con\u00adfidence: high]",
    "[con\u200bfidence: 0.9]",
    "[cónfidence: high]",
    "(confidence: high)",
    "[[confidence: high]]",
    "**[confidence: high]**",
    "[emotions_confidence: high]",
    "[confidence: high",
)


@fault("chat")
def confidence_tag_variant(exchange: Exchange, rng: Random) -> None:
    """A confidence tag before or after a text, in one of the spellings that look the same."""
    tag, before = rng.choice(SPELLINGS_OF_A_TAG), rng.random() < 0.5
    _alter_text(exchange, rng, lambda text: f"{tag} {text}" if before else f"{text} {tag}")


@fault("chat")
def empty_text(exchange: Exchange, rng: Random) -> None:
    """A text without a character."""
    _alter_text(exchange, rng, lambda text: "")


@fault("chat")
def nul_character(exchange: Exchange, rng: Random) -> None:
    """A NUL in a text, which Postgres refuses."""
    _alter_text(exchange, rng, lambda text: text[:5] + "\x00" + text[5:])


@fault("chat")
def lone_surrogate(exchange: Exchange, rng: Random) -> None:
    """Half of an emoji in a text, which is not valid UTF-8."""
    _alter_text(exchange, rng, lambda text: text[:5] + "\ud83d" + text[5:])


@fault("chat")
def newlines(exchange: Exchange, rng: Random) -> None:
    """A text of several lines."""
    _alter_text(exchange, rng, lambda text: "\n" + text.replace(", ", "\r\n\n"))


@fault("chat")
def right_to_left_marks(exchange: Exchange, rng: Random) -> None:
    """A text that changes its own direction and does not restore it."""
    _alter_text(exchange, rng, lambda text: "\u200f" + text[:5] + "\u202e" + text[5:] + "\u2067")


@fault("chat")
def wrong_confidence(exchange: Exchange, rng: Random) -> None:
    """A confidence that is not one of the three."""
    field = rng.choice(CONFIDENCES)
    _alter_entry(exchange, rng, lambda entry: entry.update({field: "very high"}))


# Other JSON types than the schema demands.


@fault("chat")
def wrong_types(exchange: Exchange, rng: Random) -> None:
    """One of the fields has another type."""

    def alter(entry: Entry) -> None:
        entry[rng.choice(list(entry))] = _nonsense(rng)

    _alter_entry(exchange, rng, alter)


@fault("chat")
def wrong_types_of_all_fields(exchange: Exchange, rng: Random) -> None:
    """Every field of one entry has another type."""
    _alter_entry(exchange, rng, lambda entry: entry.update({name: _nonsense(rng) for name in entry}))


@fault("chat")
def wrong_type_of_entry(exchange: Exchange, rng: Random) -> None:
    """One entry is something else than an object."""
    songs = read_songs(exchange)
    songs[rng.choice(positions(songs))] = rng.choice([42, None, True, ["a", "list"], "a text"])
    write_songs(exchange, songs)


# Texts of another song.


@fault("chat", applies=holds_several_songs)
def swapped_texts(exchange: Exchange, rng: Random) -> None:
    """Two songs have each other's texts and confidences, but their own titles."""
    songs = read_songs(exchange)
    one, other = (songs[position] for position in rng.sample(positions(songs), 2))
    for name in TEXTS + CONFIDENCES:
        one[name], other[name] = other[name], one[name]
    write_songs(exchange, songs)


@fault("chat", applies=holds_several_songs)
def bleed_exact(exchange: Exchange, rng: Random) -> None:
    """One song's texts are exact copies of a neighbor's."""
    _bleed(exchange, rng, TEXTS, lambda text: text)


@fault("chat", applies=holds_several_songs)
def bleed_near(exchange: Exchange, rng: Random) -> None:
    """One song's texts are a neighbor's, reordered and reworded."""
    _bleed(exchange, rng, TEXTS, lambda text: " and the ".join(reversed(text.split(", "))).capitalize())


@fault("chat", applies=holds_several_songs)
def bleed_of_one_text(exchange: Exchange, rng: Random) -> None:
    """One of a song's two texts is an exact copy of a neighbor's; the other is its own."""
    _bleed(exchange, rng, (rng.choice(TEXTS),), lambda text: text)


@fault("chat", applies=echoes_titles)
def title_of_another(exchange: Exchange, rng: Random) -> None:
    """An entry has the title of a song that nobody asked for, but the right texts."""
    _alter_entry(exchange, rng, lambda entry: entry.update(title="Wuthering Heights Revisited"))


@fault("chat", applies=echoes_titles)
def title_left_out(exchange: Exchange, rng: Random) -> None:
    """An entry repeats no title."""
    _alter_entry(exchange, rng, lambda entry: entry.pop("title"))


@fault("chat", applies=echoes_titles)
def titles_tidied(exchange: Exchange, rng: Random) -> None:
    """Every title is repeated as a model would correct it: harmless."""
    songs = read_songs(exchange)
    tidy = rng.choice(WAYS_TO_TIDY_A_TITLE)
    for position in positions(songs):
        songs[position]["title"] = tidy(songs[position]["title"])
    write_songs(exchange, songs)


def lower_case(title: str) -> str:
    """``imagine``."""
    return title.lower()


def title_case(title: str) -> str:
    """``Imagine``."""
    return title.title()


def without_brackets(title: str) -> str:
    """``Home`` for ``Home (feat. Nobody)``."""
    return re.sub(r"\s*[(\[].*?[)\]]", "", title).strip() or title


def without_version(title: str) -> str:
    """``Home`` for ``Home - 2011 Remaster``."""
    return title.partition(" - ")[0]


def without_accents(title: str) -> str:
    """``Tu`` for ``Tú``."""
    return "".join(mark for mark in unicodedata.normalize("NFKD", title) if not unicodedata.combining(mark))


def with_typographic_quotes(title: str) -> str:
    """``Don’t`` for ``Don't``."""
    return "“" + title.replace("'", "’") + "”"


def with_spelled_out_signs(title: str) -> str:
    """``You and I`` for ``You & I``; ``featuring`` for ``feat.``."""
    return title.replace("&", "and").replace("feat.", "featuring").replace("Pt.", "Part")


WAYS_TO_TIDY_A_TITLE: tuple[Callable[[str], str], ...] = (
    lower_case,
    title_case,
    without_brackets,
    without_version,
    without_accents,
    with_typographic_quotes,
    with_spelled_out_signs,
)


def _nonsense(rng: Random) -> object:
    return rng.choice([42, None, True, ["a", "list"], {"text": "nested"}])


def _alter_entry(exchange: Exchange, rng: Random, alter: Callable[[Entry], object]) -> None:
    songs = read_songs(exchange)
    alter(songs[rng.choice(positions(songs))])
    write_songs(exchange, songs)


def _alter_text(exchange: Exchange, rng: Random, alter: Callable[[str], str]) -> None:
    field = rng.choice(TEXTS)
    _alter_entry(exchange, rng, lambda entry: entry.update({field: alter(entry[field])}))


def _bleed(exchange: Exchange, rng: Random, names: tuple[str, ...], alter: Callable[[str], str]) -> None:
    songs = read_songs(exchange)
    among = positions(songs)
    place = rng.randrange(len(among))
    neighbor, altered = songs[among[place - 1]], songs[among[place]]
    for name in names:
        altered[name] = alter(neighbor[name])
    write_songs(exchange, songs)
