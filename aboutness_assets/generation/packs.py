"""Packs: which songs share one chat request, and in which order they stand in it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from aboutness_assets.domain.songs import Song
from aboutness_assets.generation.cleaning import letters_and_digits


@dataclass(frozen=True, slots=True)
class Pack:
    """The songs of one chat request, in the order in which they are asked."""

    songs: tuple[Song, ...]

    def keyed(self) -> dict[str, Song]:
        """Return the songs by the keys "1".."n" that name them in this request and nowhere else."""
        return {str(number): song for number, song in enumerate(self.songs, start=1)}


@dataclass(frozen=True, slots=True)
class _Card:
    """A song with what it must be told apart by from others of its pack."""

    song: Song
    place: int
    title: str
    artists: frozenset[str]


def _card(place: int, song: Song) -> _Card:
    artists = (" ".join(artist.casefold().split()) for artist in song.artist.split(";"))
    title = letters_and_digits(song.title) or song.title.strip()
    return _Card(song, place, title, frozenset(filter(None, artists)))


class _Hand:
    """The cards dealt to one pack."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.cards: list[_Card] = []
        self._titles: Counter[str] = Counter()
        self._artists: Counter[str] = Counter()

    @property
    def is_full(self) -> bool:
        return len(self.cards) == self.size

    def suits(self, card: _Card) -> bool:
        """Tell whether card shares no title here, and each of its artists can still be kept apart."""
        if card.title and card.title in self._titles:
            return False
        most = (self.size + 1) // 2  # of one artist, every other place
        return all(self._artists[artist] < most for artist in card.artists)

    def add(self, card: _Card) -> None:
        self.cards.append(card)
        self._titles[card.title] += 1
        self._artists.update(card.artists)

    def remove(self, card: _Card) -> None:
        self.cards.remove(card)
        self._titles -= Counter([card.title])
        self._artists -= Counter(card.artists)


def packs_of(songs: Sequence[Song], size: int) -> list[Pack]:
    """Deal songs into ceil(len(songs) / size) packs: every song once, all packs but the last full.

    As far as the songs allow, no two of one artist (each of a ``;``-joined list counts) stand side by side
    in a pack, and no two of one title share a pack: neighbours that are alike are what a model mixes up.
    Otherwise the order is the given one, and the same songs always give the same packs. Raises ValueError
    for a size below 1.
    """
    if size < 1:
        raise ValueError(f"A pack cannot hold {size} songs; give a size of 1 or more.")
    hands = [_Hand(min(size, len(songs) - start)) for start in range(0, len(songs), size)]
    left_over = _deal([_card(place, song) for place, song in enumerate(songs)], hands)
    for card in left_over:
        if not _swap_in(card, hands):
            next(hand for hand in hands if not hand.is_full).add(card)
    return [Pack(tuple(card.song for card in _kept_apart(hand.cards))) for hand in hands]


def _deal(cards: list[_Card], hands: list[_Hand]) -> list[_Card]:
    """Give every card to the first hand that it suits; return those that suit none."""
    left_over = []
    first_open = 0
    for card in cards:
        while first_open < len(hands) and hands[first_open].is_full:
            first_open += 1
        for hand in hands[first_open:]:
            if not hand.is_full and hand.suits(card):
                hand.add(card)
                break
        else:
            left_over.append(card)
    return left_over


def _swap_in(card: _Card, hands: list[_Hand]) -> bool:
    """Place card in a full hand that it suits, whose last movable card moves to a hand with room."""
    rooms = [hand for hand in hands if not hand.is_full]
    for hand in reversed(hands):
        if hand.is_full and hand.suits(card):
            for given in reversed(hand.cards):
                room = next((room for room in rooms if room.suits(given)), None)
                if room is not None:
                    hand.remove(given)
                    room.add(given)
                    hand.add(card)
                    return True
    return False


def _kept_apart(cards: list[_Card]) -> list[_Card]:
    """Order cards so that as few neighbours as possible share an artist; the earliest first otherwise."""
    waiting = sorted(cards, key=lambda card: card.place)
    if not any(left.artists & right.artists for left, right in pairwise(waiting)):
        return waiting
    counts = Counter(artist for card in waiting for artist in card.artists)
    repeated = Counter({artist: count for artist, count in counts.items() if count > 1})
    ordered: list[_Card] = []
    last: frozenset[str] = frozenset()

    def clashes(card: _Card) -> tuple[int, bool, int]:
        now = bool(card.artists & last)
        return now + _clashes_after(card, repeated, len(waiting) - 1), now, card.place

    while waiting:
        best = min(waiting, key=clashes)
        waiting.remove(best)
        repeated.subtract(best.artists & repeated.keys())
        ordered.append(best)
        last = best.artists
    return ordered


def _clashes_after(card: _Card, repeated: Counter[str], rest: int) -> int:
    """Return how many neighbours of one artist can no longer be avoided once card is placed.

    repeated counts the artists of card and of the rest cards that come after it. An artist's c cards among
    these are kept apart by the rest - c others, and from what stands before by card, if it is another's.
    """
    spare = (2 * count - rest - (2 if artist in card.artists else 1) for artist, count in repeated.items())
    return max(0, *spare)
