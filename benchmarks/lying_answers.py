"""How many mixed-up texts does read_texts see, and how often does it doubt an honest answer?

Plants lies into the stand-in's honest answers to packs of real songs, and prints two Markdown tables; --json
writes the same for each catalogue. A lie about a song is seen when the song is rejected: it is then asked for
alone. An honest song that is rejected is a false alarm and costs a needless request.

usage: python benchmarks/lying_answers.py [--packs N] [--json PATH] [--reliability-results PATH]
"""

from __future__ import annotations

import argparse
import copy
import csv
import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from random import Random
from typing import TypeAlias

from aboutness_assets.domain.chat import ChatAnswer, Usage
from aboutness_assets.domain.songs import Song
from aboutness_assets.generation.answer import read_texts
from aboutness_assets.generation.packs import Pack, packs_of
from aboutness_assets.generation.prompt import chat_messages, response_format
from aboutness_local import answers
from aboutness_local.exchange import Exchange
from aboutness_local.faults import FAULTS
from aboutness_local.faults.completion import message_of, read_songs, write_songs
from aboutness_local.faults.entry import TEXTS, WAYS_TO_TIDY_A_TITLE

Plant: TypeAlias = Callable[[Exchange, Random], None]

SHARED_DATA = Path(__file__).parents[1].parent / "shared" / "data"
CATALOGUES = ("catalogue_full.csv.gz", "catalogue_sample_1000.csv", "catalogue_hard_cases.csv")
OWN_SAMPLE = "sample_songs.csv"

PACK_SIZE = 10
SEED = 1


@dataclass
class Count:
    """The results for one kind of answer over all packs; every number counts songs."""

    planted: int = 0
    seen: int = 0
    honest: int = 0
    doubted: int = 0
    """Honest songs that were rejected."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--packs", type=int, default=300, help="packs of ten songs, of each catalogue at most"
    )
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument(
        "--reliability-results", type=Path, metavar="PATH", help="append JSON lines to this file"
    )
    arguments = parser.parse_args()

    counts = {name: measure(songs, arguments.packs) for name, songs in catalogues()}
    total = {plant: added([of[plant] for of in counts.values()]) for plant in LIES | HARMLESS}
    print(markdown(total))
    in_full = {
        name: {plant: asdict(count) for plant, count in of.items()}
        for name, of in {**counts, "all": total}.items()
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(in_full, indent=2) + "\n", encoding="utf-8")
    if arguments.reliability_results:
        with arguments.reliability_results.open("a", encoding="utf-8") as lines:
            for plant, count in total.items():
                lines.write(
                    json.dumps(
                        {"kind": "lie" if plant in LIES else "harmless", "answer": plant, **asdict(count)}
                    )
                    + "\n"
                )


def catalogues() -> Iterator[tuple[str, list[Song]]]:
    """The catalogues that are present, by name; the project's own sample always is."""
    own = resources.files("aboutness_local") / OWN_SAMPLE
    yield OWN_SAMPLE, songs_of(own.read_text(encoding="utf-8"))
    for name in CATALOGUES:
        path = SHARED_DATA / name
        if path.exists():
            raw = path.read_bytes()
            yield name, songs_of((gzip.decompress(raw) if path.suffix == ".gz" else raw).decode())
        else:
            print(f"{name} is skipped: it is not in {SHARED_DATA}.", file=sys.stderr)


def songs_of(text: str) -> list[Song]:
    """The songs of a catalogue in CSV."""
    rows = csv.DictReader(text.splitlines(keepends=True))
    return [Song(int(row["song_id"]), row["title"], row["artist"]) for row in rows]


def measure(songs: list[Song], packs: int) -> dict[str, Count]:
    """Plant every lie into the answers to the packs of a sample of the songs, drawn by SEED."""
    rng = Random(SEED)
    sample = rng.sample(songs, min(len(songs), packs * PACK_SIZE))
    counts = {name: Count() for name in LIES | HARMLESS}
    for pack in packs_of(sample, PACK_SIZE):
        if len(pack.songs) == PACK_SIZE:
            honest = honest_exchange(pack)
            for name, plant in (LIES | HARMLESS).items():
                exchange = copy.deepcopy(honest)
                plant(exchange, rng)
                lied_about = changed(honest, exchange) if name in LIES else set()
                judge(counts[name], pack, lied_about, exchange)
    return counts


def honest_exchange(pack: Pack) -> Exchange:
    """The request for a pack, as it is sent, with the stand-in's answer."""
    request = {"model": "m", "messages": chat_messages(pack), "response_format": response_format(pack)}
    exchange = Exchange("chat", request=request)
    answers.read_songs(exchange)
    answers.complete(exchange)
    return exchange


def changed(honest: Exchange, planted: Exchange) -> set[str]:
    """The keys of the songs whose entry is no longer the honest one."""
    before, after = read_songs(honest), read_songs(planted)
    return {key for key in before if after[key] != before[key]}


def judge(count: Count, pack: Pack, lied_about: set[str], exchange: Exchange) -> None:
    """Let read_texts read the answer, and count what it rejects."""
    chat = ChatAnswer(message_of(exchange)["content"], "stop", refusal=None, usage=Usage(0, 0, 0), model=None)
    read = read_texts(chat, pack)
    rejected = {failed.song_id for failed in read.rejected}
    for key, song in pack.keyed().items():
        if key in lied_about:
            count.planted += 1
            count.seen += song.song_id in rejected
        else:
            count.honest += 1
            count.doubted += song.song_id in rejected


def added(counts: list[Count]) -> Count:
    """The sum of some counts."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(asdict(count))
    return Count(**total)


# Lies: every entry that they change is about a different song than it says.


def title_of_a_third_song(exchange: Exchange, rng: Random) -> None:
    """One entry repeats a title from elsewhere, not that of a neighbor."""
    songs = read_songs(exchange)
    songs[rng.choice(list(songs))]["title"] = rng.choice(WELL_KNOWN_TITLES)
    write_songs(exchange, songs)


WELL_KNOWN_TITLES = ("Bohemian Rhapsody", "Wonderwall", "Billie Jean", "La Vie en rose", "Africa", "Hey Ya!")


def bleed_with_a_word_changed(exchange: Exchange, rng: Random) -> None:
    """Both texts of one song are a neighbor's, but for one word in each."""
    songs = read_songs(exchange)
    neighbor, reached = rng.sample(list(songs.values()), 2)
    for name in TEXTS:
        reached[name] = " ".join(["somehow", *neighbor[name].split()[1:]])
    write_songs(exchange, songs)


# Harmless: every song of these that is rejected is a false alarm.


def honest_answer(exchange: Exchange, rng: Random) -> None:
    """The stand-in's answer, unchanged."""


def all_titles(tidy: Callable[[str], str]) -> Plant:
    """Every title is repeated as a model would correct it."""

    def plant(exchange: Exchange, rng: Random) -> None:
        songs = read_songs(exchange)
        for entry in songs.values():
            entry["title"] = tidy(entry["title"])
        write_songs(exchange, songs)

    return plant


def misspelt_titles(exchange: Exchange, rng: Random) -> None:
    """Every title has lost one letter."""
    all_titles(lambda title: without_one(title, rng))(exchange, rng)


def without_one(title: str, rng: Random) -> str:
    """A title without one of its characters, drawn; a title of one character stays."""
    at = rng.randrange(len(title)) if len(title) > 1 else len(title)
    return title[:at] + title[at + 1 :]


def titles_with_artists(exchange: Exchange, rng: Random) -> None:
    """Every title comes with the artist before it."""
    songs = read_songs(exchange)
    for song in exchange.songs:
        songs[song["key"]]["title"] = f"{song['artist']} - {song['title']}"
    write_songs(exchange, songs)


def texts_that_differ(by: Callable[[int], str]) -> Plant:
    """All songs have the same texts but for one number, id or word."""

    def plant(exchange: Exchange, rng: Random) -> None:
        songs = read_songs(exchange)
        for number, entry in enumerate(songs.values()):
            entry["emotions_text"] = f"steady warmth of feeling {by(number)} that stays"
            entry["moments_text"] = f"waiting for train {by(number)} in the evening rain"
        write_songs(exchange, songs)

    return plant


def same_emotions_everywhere(exchange: Exchange, rng: Random) -> None:
    """All songs have one emotions_text; each has its own moments_text."""
    songs = read_songs(exchange)
    for entry in songs.values():
        entry["emotions_text"] = "quiet hope that grows in spite of itself"
    write_songs(exchange, songs)


ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()  # noqa: SIM905

LIES: dict[str, Plant] = {
    "two whole entries swapped": FAULTS["swapped_keys"].inject,
    "all entries shifted by one": FAULTS["shifted_keys"].inject,
    "title of a song that was not asked for": title_of_a_third_song,
    "both texts copied from the neighbor": FAULTS["bleed_exact"].inject,
    "both texts copied, their clauses reordered": FAULTS["bleed_near"].inject,
    "both texts copied, one word of each changed": bleed_with_a_word_changed,
    "one of the two texts copied": FAULTS["bleed_of_one_text"].inject,
    "texts swapped under the right titles": FAULTS["swapped_texts"].inject,
}
HARMLESS: dict[str, Plant] = {
    "honest answer": honest_answer,
    "one title left out": FAULTS["title_left_out"].inject,
    **{f"titles {tidy.__name__.replace('_', ' ')}": all_titles(tidy) for tidy in WAYS_TO_TIDY_A_TITLE},
    "titles that lost a letter": misspelt_titles,
    "titles with the artist before them": titles_with_artists,
    "texts that differ in a number alone": texts_that_differ(str),
    "texts that differ in an id alone": texts_that_differ(lambda number: f"x7f-{number:04d}-a"),
    "texts that differ in one word": texts_that_differ(ORDINALS.__getitem__),
    "the same emotions for all songs": same_emotions_everywhere,
}


def markdown(counts: dict[str, Count]) -> str:
    """Two tables: lies and how many are seen, harmless answers and how many songs are doubted."""
    lines = ["| lie | songs lied about | seen | | innocent songs doubted |", "|---|--:|--:|--:|--:|"]
    for name in LIES:
        of = counts[name]
        seen, doubted = f"{of.seen:,} | {of.seen / of.planted:.1%}", f"{of.doubted:,} of {of.honest:,}"
        lines.append(f"| {name} | {of.planted:,} | {seen} | {doubted} |")
    lines += ["", "| harmless answer | songs | doubted | |", "|---|--:|--:|--:|"]
    for name in HARMLESS:
        of = counts[name]
        lines.append(f"| {name} | {of.honest:,} | {of.doubted:,} | {of.doubted / of.honest:.2%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
