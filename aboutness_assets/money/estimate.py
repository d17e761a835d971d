"""What a backfill will take, before it is paid for: requests, tokens, dollars and time, each with its band.

Two things are known beforehand: the words of every request (the prompt, and the titles and artists of the
songs left), and what requests with the same prompt have really used. The first gives the estimate; from five
billed requests on, the second corrects it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

from aboutness_assets.money.figures import Figure, ratio
from aboutness_assets.money.prices import Price
from aboutness_assets.money.token_counts import TokenCounter

FEWEST_BILLED_REQUESTS = 5
"""Billed requests with this prompt from which on they correct the estimate."""

TEXT_TOKENS_PER_SONG = 24
"""Tokens of the two texts of a song: 59 per entry (o200k, 4,000 real songs) less title and field names."""

# Before anything is billed. Providers that do not count the schema bill 0.65 of the prompt; models differ in
# how much of the room for a text they use.
_PROMPT_BAND, _COMPLETION_BAND = Figure(0.6, 1, 1.1), Figure(0.8, 1, 1.25)

# Asked again: about one pack in a hundred, until more than a hundred billed requests say otherwise.
_EXPECTED_REPEATS, _EXPECTED_REPEATS_WEIGHT = 0.01, 100

_CACHED_FROM_PROMPT_TOKENS = 1_024
"""OpenAI caches prompts from this length on, and bills what it writes to the cache."""


@dataclass(frozen=True, slots=True)
class SongsLeft:
    """The songs to be asked for: how many, in how many packs, and the tokens of their titles and artists."""

    songs: int
    packs: int
    title_tokens: float
    artist_tokens: float


@dataclass(frozen=True, slots=True)
class RequestShape:
    """What a request holds beside the songs' own names, in tokens.

    fixed: of every request (system prompt, schema, frame). per_song: of a song's place in prompt and schema.
    entry: of a song's entry in an answer without title and texts.
    """

    fixed: float
    per_song: float
    entry: float


@dataclass(frozen=True, slots=True)
class BilledRequest:
    """What an earlier chat request with the same prompt and model held, and what was billed for it.

    title_tokens and artist_tokens are counted as those of SongsLeft are. is_repeat: its songs had been asked
    for before in the same run.
    """

    songs: int
    title_tokens: float
    artist_tokens: float
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class BilledEmbeddings:
    """What all earlier embedding requests with the same models came to."""

    songs: int = 0
    requests: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class History:
    """What was billed for the same prompt and models before."""

    chat: Sequence[BilledRequest] = ()
    embeddings: BilledEmbeddings = field(default_factory=BilledEmbeddings)


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The account's chat limits per minute; 0: not known."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What it takes to give every song that is left its row.

    Dollars include the embeddings; None where a price is not known. minutes: at the limits known, in the
    standard tier; None where no limit is. billed_requests: how many the estimate rests on; 0: on words alone.
    """

    songs: int
    chat_requests: Figure
    prompt_tokens: Figure
    completion_tokens: Figure
    embedding_requests: Figure
    embedding_tokens: Figure
    usd_standard: Figure | None
    usd_flex: Figure | None
    minutes: Figure | None
    billed_requests: int


def songs_left(
    names: Iterable[tuple[str, str]], counter: TokenCounter, songs_per_range: Sequence[int], pack_size: int
) -> SongsLeft:
    """Add up titles and artists, as they are sent, and the packs that ranges of so many songs left need."""
    songs = 0
    titles = artists = 0.0
    for title, artist in names:
        songs += 1
        titles += counter.name(title)
        artists += counter.name(artist)
    return SongsLeft(songs, sum(ceil(count / pack_size) for count in songs_per_range), titles, artists)


def request_shape(
    counter: TokenCounter, texts_of_request: Callable[[int], Iterable[str]], entry: str
) -> RequestShape:
    """Measure the requests and answers of a prompt.

    texts_of_request: all that a request for that many songs without names sends: messages and schema.
    entry: a song's part of an answer's JSON, key and comma included, its title and texts the letter x: empty
    strings would melt into the tokens about them.
    """
    one, eleven = (sum(map(counter.text, texts_of_request(songs))) for songs in (1, 11))
    per_song = (eleven - one) / 10
    return RequestShape(one - per_song, per_song, counter.text(entry) - 3 * counter.name("x"))


def estimate(
    left: SongsLeft,
    shape: RequestShape,
    history: History,
    prices: tuple[Price | None, Price | None],
    limits: RateLimits,
    songs_per_embedding_request: int,
) -> Estimate:
    """Estimate a backfill of the songs left; prices: of the chat and of the embedding model.

    History that holds fewer than FEWEST_BILLED_REQUESTS chat requests is not used.
    """
    billed = [each for each in history.chat if each.prompt_tokens > 0 and each.completion_tokens > 0]
    if len(billed) < FEWEST_BILLED_REQUESTS:
        billed = []
    repeats = _repeats(billed).times(left.packs)
    # A request that repeats asks for one song, as a rule: the others of its pack have their texts.
    names_per_song = (left.title_tokens + left.artist_tokens) / max(1, left.songs)
    titles_per_song = left.title_tokens / max(1, left.songs)
    requests = Figure(left.packs, left.packs, left.packs).plus(repeats)
    asked = Figure(left.songs, left.songs, left.songs).plus(repeats)
    prompt = requests.times(shape.fixed).plus(asked.times(shape.per_song + names_per_song))
    completion = asked.times(shape.entry + TEXT_TOKENS_PER_SONG + titles_per_song)
    if billed:
        prompt = prompt.times(ratio([(each.prompt_tokens, _prompt_of(each, shape)) for each in billed]))
        completion = completion.times(
            ratio([(each.completion_tokens, _completion_of(each, shape)) for each in billed])
        )
    else:
        prompt, completion = prompt.times(_PROMPT_BAND), completion.times(_COMPLETION_BAND)
    minutes = _minutes(requests, prompt, completion, limits)
    embedded = history.embeddings if billed else BilledEmbeddings()
    embedding_tokens = _embedding_tokens(left.songs, embedded)
    tokens = (prompt, completion, embedding_tokens)
    return Estimate(
        songs=left.songs,
        chat_requests=requests,
        prompt_tokens=prompt,
        completion_tokens=completion,
        embedding_requests=_embedding_requests(left, embedded, songs_per_embedding_request, minutes),
        embedding_tokens=embedding_tokens,
        usd_standard=_usd("standard", prices, tokens, billed, left.packs),
        usd_flex=_usd("flex", prices, tokens, billed, left.packs),
        minutes=minutes,
        billed_requests=len(billed),
    )


def _prompt_of(request: BilledRequest, shape: RequestShape) -> float:
    names = request.title_tokens + request.artist_tokens
    return shape.fixed + request.songs * shape.per_song + names


def _completion_of(request: BilledRequest, shape: RequestShape) -> float:
    return request.songs * (shape.entry + TEXT_TOKENS_PER_SONG) + request.title_tokens


def _repeats(billed: Sequence[BilledRequest]) -> Figure:
    """Requests that ask again, per pack."""
    seen = sum(each.is_repeat for each in billed)
    rate = (seen + _EXPECTED_REPEATS * _EXPECTED_REPEATS_WEIGHT) / (
        len(billed) - seen + _EXPECTED_REPEATS_WEIGHT
    )
    return Figure(0, rate, 3 * rate)


def _embedding_tokens(songs: int, embedded: BilledEmbeddings) -> Figure:
    if embedded.songs and embedded.tokens:
        per_song = embedded.tokens / embedded.songs
        return Figure(0.95 * per_song, per_song, 1.05 * per_song).times(songs)
    return _COMPLETION_BAND.times(TEXT_TOKENS_PER_SONG * songs)


def _embedding_requests(
    left: SongsLeft, embedded: BilledEmbeddings, songs_per_request: int, minutes: Figure | None
) -> Figure:
    """From full ones only to one per pack; expected: one per second, as packs gather for so long."""
    fewest = ceil(left.songs / songs_per_request)
    most = max(fewest, left.packs)
    if embedded.songs and embedded.requests:
        expected = left.songs * embedded.requests / embedded.songs
    else:
        expected = 60 * minutes.expected if minutes else fewest
    return Figure(fewest, min(max(expected, fewest), most), most)


def _usd(
    tier: str,
    prices: tuple[Price | None, Price | None],
    tokens: tuple[Figure, Figure, Figure],
    billed: Sequence[BilledRequest],
    packs: int,
) -> Figure | None:
    """Dollars for (prompt, completion, embedding) tokens in a tier."""
    chat, embedding = prices
    if chat is None or embedding is None:
        return None
    prompt, completion, embedded = tokens
    rates = chat.rates_of(tier)
    uncached, written = float(rates.prompt), float(rates.cache_write)
    if billed:
        of_all = sum(each.prompt_tokens for each in billed)
        shares = (
            sum(each.cached_tokens for each in billed) / of_all,
            sum(each.cache_write_tokens for each in billed) / of_all,
        )
        mean = uncached + shares[0] * (float(rates.cached) - uncached) + shares[1] * (written - uncached)
        per_prompt_token = Figure(mean, mean, mean)
    else:
        # A prompt that is long enough is written to the cache, and never read, as no two are alike.
        is_long = prompt.expected > _CACHED_FROM_PROMPT_TOKENS * packs
        per_prompt_token = Figure(uncached, written if is_long else uncached, max(uncached, written))
    return (
        prompt.times(per_prompt_token)
        .plus(completion.times(float(rates.completion)))
        .plus(embedded.times(float(embedding.rates_of("standard").prompt)))
        .times(1e-6)
    )


def _minutes(requests: Figure, prompt: Figure, completion: Figure, limits: RateLimits) -> Figure | None:
    """Minutes at the limits; low: where only prompts count towards the tokens per minute, as at OpenAI."""
    bounds = []
    if limits.requests_per_minute:
        bounds.append(requests.times(1 / limits.requests_per_minute))
    if limits.tokens_per_minute:
        counted = Figure(prompt.low, prompt.expected + completion.expected, prompt.high + completion.high)
        bounds.append(counted.times(1 / limits.tokens_per_minute))
    if not bounds:
        return None
    return Figure(
        max(each.low for each in bounds),
        max(each.expected for each in bounds),
        max(each.high for each in bounds),
    )
