"""What a text may hold: cleans what a model wrote, and a song's own words on their way into a request.

Every cleaning step is one small function from text to text. ``clean_text`` repeats them until nothing
changes any more, so that removing one thing may uncover another, and cleaning twice changes nothing.
"""

import unicodedata
from functools import lru_cache
from itertools import takewhile

import regex  # type: ignore[import-untyped]

MAX_CHARACTERS = 100
"""Longest text that song_aboutness takes, in code points (what Postgres' char_length counts)."""

_MAX_RAW_CHARACTERS = 2_000  # a text this long is cut before the costlier steps; a model was asked for 80

# --- Characters that do not belong into a line of text --------------------------------------------

# Joiners shape words in scripts that are neither Latin-like nor East Asian, and hold emoji together.
_JOINABLE = r"[[\p{L}\p{M}]--[\p{Latin}\p{Greek}\p{Cyrillic}\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Common}\p{Inherited}]]"  # noqa: E501
_FLAG_TAGS = r"\U000E0020-\U000E007F"  # spell the region after a black flag, as in the flag of Scotland
_JUNK = regex.compile(
    rf"""(?V1x)
      (?=[\p{{C}}\p{{Default_Ignorable_Code_Point}}\uFFFC\uFFFD])  # only for speed
    (?:
      # kept where they are part of a grapheme
      (?: (?<=[\p{{Extended_Pictographic}}\p{{Emoji_Modifier}}\uFE0F])\u200D(?=\p{{Extended_Pictographic}})
        | [\u200C\u200D](?<={_JOINABLE}\p{{M}}*+.)(?={_JOINABLE})
        | (?<=\p{{Canonical_Combining_Class=Virama}})\u200D
        | (?<=[\p{{Emoji}}\p{{Han}}\p{{Mongolian}}])\p{{Variation_Selector}}
        | (?<=\U0001F3F4)[{_FLAG_TAGS}]+
      )(*SKIP)(*FAIL)
      # removed: control characters but white space, surrogates, marks of direction, the invisible
    | [[\p{{Cc}}\p{{Cs}}\p{{Bidi_Control}}\p{{Noncharacter_Code_Point}}\p{{Default_Ignorable_Code_Point}}
        \uFFF9-\uFFFD]--\s]
    )"""
)
_ITEM = regex.compile(r"(?<!\s)(\s++)(?:([•‣▪●])|[-–—·◦○*+]|\d{1,2}[.)])\s+")
_LINE_ENDS = frozenset("\n\r\u2028\u2029")


def _without_junk(text: str) -> str:
    return unicodedata.normalize("NFC", _JUNK.sub("", text))


def _on_one_line(text: str) -> str:
    """Fold white space; the items of a list are strung together by commas."""
    return " ".join(_ITEM.sub(_comma_for_bullet, text).split())


def _comma_for_bullet(item: regex.Match[str]) -> str:
    gap, unmistakable = item.groups()
    if unmistakable is None and _LINE_ENDS.isdisjoint(gap):
        return str(item[0])  # a dash or a number within a sentence
    return ", " if item.string[max(0, item.start() - 1) : item.start()].isalnum() else " "


# --- Confidence tags ------------------------------------------------------------------------------

_TAG_LEVEL = r"(?:very\s*)?(?:low|medium|moderate|high|\d{1,3}(?:\.\d+)?\s*%?|\.\d+)(?:\s*/\s*\d{1,3})?"
_TAG_WORD = (
    r"(?:(?:emotions?|moments?)[\s_]*)?" + r"\s*".join("confidence") + r"(?:\s*(?:level|score|rating))?"
)
_TAG_OPENS, _TAG_CLOSES = r"[\[({<〈《「『【〔〖]", r"[\])}>〉》」』】〕〗]"
_TAG = regex.compile(
    rf"""(?V1x)\s*(?:
        {_TAG_OPENS}+ [\s"']* {_TAG_WORD} [\s"']* (?:
            [:=] [^{_TAG_OPENS}{_TAG_CLOSES}]* {_TAG_CLOSES}+  # [confidence: anything]
          | [-–—|,]? \s* {_TAG_LEVEL} \s* {_TAG_CLOSES}+  # (confidence high)
          | [:=] \s* (?: {_TAG_LEVEL}\b | (?:lo?|medi?u?|me?|mo?d?|hig?)\Z )?  # [confidence: hi
        )
      | {_TAG_OPENS}+ \s* {_TAG_LEVEL} [\s-]* {_TAG_WORD} \s* {_TAG_CLOSES}+  # (high confidence)
      | {_TAG_OPENS}+ \s* (?:{"|".join("confidence"[:n] for n in range(10, 3, -1))})\Z  # [confid
      | (?<!\w) {_TAG_WORD} \s* [:=] \s* {_TAG_LEVEL}\b \s* {_TAG_CLOSES}* \.?  # confidence: high
    )"""
)

_MARKS = regex.compile(r"[\p{Mn}\p{Me}\p{Cf}]+")


def _folded(text: str) -> str:
    """Return text without case, width, accents and ligatures; the folds of its characters, joined.

    A tag is looked for in this form, because lower(), upper() or ILIKE would find it there: ``ﬁ``, ``ı``
    and ``İ`` all become plain letters under one of them.
    """
    if text.isascii():
        return text.lower()
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return str(_MARKS.sub("", letters)).replace("ı", "i")  # the dotless i, whose capital is I


def _without_confidence_tags(text: str) -> str:
    folded = _folded(text)
    if "conf" not in folded.replace(" ", ""):
        return text
    origins = [index for index, character in enumerate(text) for _ in _folded(character)]
    kept: list[str] = []
    kept_to = 0
    for tag in _TAG.finditer(folded):
        start, end = origins[tag.start()], origins[tag.end() - 1] + 1
        if start < kept_to:  # one ligature both ends a tag and begins the next
            continue
        kept += [text[kept_to:start], " " if text[end : end + 1].isalnum() else ""]
        kept_to = end
    return "".join([*kept, text[kept_to:]]).strip()


# --- What a model puts around a text --------------------------------------------------------------

_EMPHASIS = (
    regex.compile(r"(\*\*\*|\*\*|___|__|~~|`+)(?=\S)(.+?)(?<=\S)\1"),
    regex.compile(r"(?<![\w*])([*_])(?=[^\s*_])(.+?)(?<=[^\s*_])\1(?![\w*])"),
)
_LEAD = regex.compile(
    r"""(?x)\A (?:
        \#{1,6}\s+ | > | \[[ xX]\]\s | [-–—+*_~|=\\•·‣◦▪▫●○■□►▶➤→✓✔]+
      | \(?\d{1,2}[.):](?:\s+|(?=\p{L})) | [a-zA-Z]\)\s+
      | [\p{M},;:.!?…、。，；：！？)\]}]+ | \s+
    )+"""
)
_LABEL = regex.compile(
    r"""(?xi)\A ["'“‘]? (?:(?:the|your|key|main|core|best|perfect|ideal|listening|evoked)\s)*
    (?:emotions?|emotional\s(?:tone|texture)|feelings?|moods?|moments?|situations?|occasions?|scenes?
       |settings?|text|answer|output|summary|description)
    (?:[ _-](?:text|summary|description|evoked|conveyed))? ["'”’]?
    (?: \s*[:：=]\s* | \s[-–—]\s )"""
)
_WRAPPED = regex.compile(r"\A(?:\[([^\[\]]*)\]|\(([^()]*)\)|\{([^{}]*)\}|【([^【】]*)】)\Z")
_COUNT = regex.compile(r"\s*[(\[]\d{1,3}\s*char(?:acter)?s?[)\]]\.?\Z")
_TAIL = " ,;:、，；：،؛-–—*_~|\\/&=<([{（［【·•"


def _without_emphasis(text: str) -> str:
    for pattern in _EMPHASIS:
        text = pattern.sub(r"\2", text)
    return text


def _without_frame(text: str) -> str:
    text = _LEAD.sub("", text)
    text = _LABEL.sub("", text)
    text = _WRAPPED.sub(r"\1\2\3\4", text)
    text = _COUNT.sub("", text)
    return text.rstrip(_TAIL)


# --- Quotes ---------------------------------------------------------------------------------------

_DOUBLE_QUOTES, _SINGLE_QUOTES = '"“”„‟＂«»〝〞〟「」『』', "'‘’‚‛‹›＇`´"
_QUOTES = frozenset(_DOUBLE_QUOTES + _SINGLE_QUOTES)
_OPENING_QUOTES = frozenset("“„‟«〝「『‘‚‛‹")
_CLOSING_QUOTES = frozenset("”»〞〟」』’›")
_APOSTROPHE = regex.compile(
    r"""(?xi) (?<=\w)['’‘](?=\w)                                                    # don't
      | (?<!\w)['’‘](?=(?:n|t(?:il|ill|is|was)|cause|cuz|bout|em|round|neath)\b|\d0s\b)  # 'til dawn, '90s
      | (?<=\b(?:\p{L}+[^aeious]in|[nothi]{1,2}|an|ol|lil))['’](?!\w)                 # dancin', rock 'n'
    """
)


def _quote_partners(text: str) -> dict[int, int | None]:
    """Return, for the index of every quotation mark (no apostrophe), the index of the one it pairs with."""
    partners: dict[int, int | None] = {}
    open_quotes: dict[bool, list[int]] = {True: [], False: []}
    apostrophes = {found.start() for found in _APOSTROPHE.finditer(text)}
    for index, mark in enumerate(text):
        if mark not in _QUOTES:
            continue
        waiting = open_quotes[mark in _SINGLE_QUOTES]
        closes_all = index == len(text) - 1 and waiting == [0]
        if index in apostrophes and not closes_all:
            continue
        partners[index] = None
        if not _opens_quotation(text, index, bool(waiting)):
            if waiting:
                opened = waiting.pop()
                partners[index], partners[opened] = opened, index
        else:
            waiting.append(index)
    return partners


def _opens_quotation(text: str, index: int, one_is_open: bool) -> bool:
    """Tell an opening mark by its place, and only then by its shape: German “ closes, Swedish ” opens."""
    after_gap = index == 0 or not (text[index - 1].isalnum() or text[index - 1] in ",.;:!?…)]")
    before_gap = index == len(text) - 1 or not text[index + 1].isalnum()
    if after_gap != before_gap:
        return after_gap
    if text[index] in _OPENING_QUOTES:
        return True
    return text[index] not in _CLOSING_QUOTES and not one_is_open


def _without_wrapping_quotes(text: str) -> str:
    """Drop quotes around the whole and lone ones at either end; quoted words inside keep theirs."""
    if _QUOTES.isdisjoint(text):
        return text
    partners = _quote_partners(text)
    last = len(text.rstrip(".,;!?…")) - 1  # a closing quote may stand before the full stop
    dropped = {end for end in (0, last) if end in partners and partners[end] in {None, last - end}}
    return "".join(character for index, character in enumerate(text) if index not in dropped).strip()


# --- Length ---------------------------------------------------------------------------------------

_UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}ー々〻]"
)
_STARTS_NO_LINE = frozenset(
    "ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ々〻ゝゞヽヾๆฯ、。，．：；！？」』）］】〉》"
)
_CLAUSE_MARKS = frozenset(",;:.!?…،؛؟।")
_WIDE_CLAUSE_MARKS = frozenset("、。，；：！？」』）")  # no space follows these
_DASHES = frozenset("-–—")
FUNCTION_WORDS = frozenset(
    "a an the and or but nor yet so with without of for to from in on at by into onto over "  # noqa: SIM905
    "under between through during after before as like than that which who whose when where while if "
    "because its his her their your my our this these those is are was".split()
)
"""English words that say nothing by themselves and end no text."""

_BRACKETS = {"(": ")", "[": "]", "{": "}", "（": "）", "【": "】"}


def _grapheme_ends(text: str, limit: int) -> list[int]:
    """Return the indexes at which text may be cut without splitting a grapheme, at most limit."""
    return list(takewhile(lambda end: end <= limit, (found.end() for found in regex.finditer(r"\X", text))))


def _shortened(text: str, limit: int) -> str:
    """Cut text to at most limit characters after its last clause, else its last word, that fits whole.

    Scripts that do not space their words are cut between graphemes. '' when not even one word fits.
    """
    if len(text) <= limit:
        return text
    ends = _grapheme_ends(text, limit)
    clauses = [end for end in ends if 2 * end >= limit and _ends_clause(text, end)]
    words = [end for end in ends if _ends_word(text, end)]
    cut = max(clauses or words, default=0)
    return _without_loose_end(text[:cut])


def _ends_clause(text: str, end: int) -> bool:
    before, after = text[end - 1], text[end]
    if before in _WIDE_CLAUSE_MARKS:
        return after not in _STARTS_NO_LINE
    if not after.isspace():
        return False
    next_word = text[end + 1 : end + 2]
    return (
        before in _CLAUSE_MARKS
        or next_word in _DASHES
        or bool(_UNSPACED.match(before) and _UNSPACED.match(next_word))
    )


def _ends_word(text: str, end: int) -> bool:
    before, after = text[end - 1], text[end]
    if after.isspace():
        return True
    unspaced = _UNSPACED.match(before) or _UNSPACED.match(after)
    return bool(unspaced) and after not in _STARTS_NO_LINE and before not in _OPENING_QUOTES


def _without_loose_end(text: str) -> str:
    """Drop what a cut leaves dangling: a bracket or quote never closed, "and", "with the", a comma."""
    opened = _unclosed(text)
    if opened is not None:
        text = text[:opened] if 2 * opened >= len(text) else text[:opened] + text[opened + 1 :]
    while True:
        text = text.rstrip("….") if text.endswith(("…", "...")) else text
        text = text.rstrip(_TAIL)
        head, _, last = text.rpartition(" ")
        if last.casefold() not in FUNCTION_WORDS:
            return text
        text = head


def _unclosed(text: str) -> int | None:
    """Return the index of the first bracket or double quote of text that is opened and never closed."""
    opened = [
        i for i, partner in _quote_partners(text).items() if partner is None and text[i] in _DOUBLE_QUOTES
    ]
    opened += [i for i, mark in enumerate(text) if mark in _BRACKETS and _BRACKETS[mark] not in text[i:]]
    return min(opened, default=None)


# --- The rules ------------------------------------------------------------------------------------

_LETTER = regex.compile(r"\p{L}")
_NOT_KNOWN = regex.compile(
    r"""(?xi) \bas\san\sai\b
      | (?:\bnot|n['’]t|\bcannot|\bunable\sto)\s(?:know|recogni[sz]e|identify|determine|find)
        \s(?:this|the)\s(?:song|track|artist)
      | \b(?:no|not\senough|insufficient)\s(?:information|data)\b"""
)
_PLACEHOLDERS = frozenset(
    "na nan none null nil undefined unknown unclear unsure unavailable notavailable "  # noqa: SIM905
    "notapplicable notknown notsure notspecified noidea idk tbd todo nothing unknownsong emotion emotions "
    "emotionstext moment moments momentstext text string low medium high lowmediumhigh confidence".split()
)


def letters_and_digits(text: str) -> str:
    """Return what two spellings of one title share: letters and digits without case, width and accents."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text).casefold()))


def is_valid_text(text: str) -> bool:
    """Tell whether song_aboutness takes the text.

    1 to 100 characters on one line, no NUL, encodable as UTF-8, and ``[confidence:`` in no case (nor in
    letters that lower(), upper() or a normalisation would turn into it).
    """
    if not 1 <= len(text) <= MAX_CHARACTERS or "\0" in text or text.splitlines() != [text]:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "[confidence:" not in _folded(text)


def _says_something(text: str) -> bool:
    spoken = letters_and_digits(text)
    return bool(_LETTER.search(text)) and spoken not in _PLACEHOLDERS and not _NOT_KNOWN.search(text)


def _undressed(text: str) -> str:
    text = _shortened(_on_one_line(_without_junk(text)), _MAX_RAW_CHARACTERS)
    text = _without_confidence_tags(text)
    text = _without_emphasis(text)
    text = _without_frame(text)
    return _without_wrapping_quotes(text)


def _cleaned_once(text: str) -> str:
    bare = _undressed(text)
    if bare != text:
        return bare  # something may have been uncovered: nothing is cut before all is off
    text = _shortened(text, MAX_CHARACTERS)
    return text if is_valid_text(text) and _says_something(text) else ""


def clean_text(raw: str) -> str:
    """Return what a model wrote as a text that song_aboutness takes, or '' where nothing usable is left.

    NFC, one line, at most 100 characters by cutting after a clause or a word, without quotes around it,
    bullets, Markdown, labels and confidence tags. Whatever comes out is valid (``is_valid_text``) or '',
    and comes out the same when cleaned again. Raises nothing.
    """
    text = raw
    while (cleaned := _cleaned_once(text)) != text:
        text = cleaned
    return text


_UNSENDABLE = regex.compile(r"(?V1)[[\p{Cc}\p{Cs}]--\s]")


@lru_cache(maxsize=16_384)  # a song's fields are wanted in its request and again with its answer
def clean_song_field(value: str, max_characters: int) -> str:
    """Return a title or an artist fit for a request: one line of at most max_characters characters.

    Without control characters and lone surrogates, white space folded, cut between graphemes; otherwise
    as the service spells it.
    """
    text = " ".join(_UNSENDABLE.sub("", value).split())
    if len(text) <= max_characters:
        return text
    cut = max(_grapheme_ends(text, max_characters), default=max_characters)
    return text[:cut].rstrip()
