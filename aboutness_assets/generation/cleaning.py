"""What a text may hold, and how what a model wrote becomes such a text.

Every step is one small function from text to text, for something that models do write. ``clean_text``
repeats them until nothing changes, so that removing one thing may uncover another, and cleaning twice changes
nothing. Texts are English, as the prompt asks: what only other scripts need is not here. A text that no step
makes valid is rejected, and its song is asked for again.
"""

import unicodedata

import regex  # type: ignore[import-untyped]

from aboutness_assets.generation.shortening import TRAILING_SEPARATORS, shortened
from aboutness_assets.generation.song_fields import letters_and_digits

MAX_CHARACTERS = 100
"""Longest text that song_aboutness takes, in code points (what Postgres' char_length counts)."""

_MAX_RAW_CHARACTERS = 2_000  # the rest of a longer text is not looked at; a model was asked for 80


def clean_text(raw: str) -> str:
    """Return what a model wrote as a text that song_aboutness takes, or '' where nothing usable is left.

    NFC, one line, at most 100 characters by cutting after a clause or a word, without quotes around it,
    bullets, Markdown, labels and confidence tags. Whatever comes out is valid (``is_valid_text``) or '',
    and comes out the same when cleaned again. Raises nothing.
    """
    text = raw[:_MAX_RAW_CHARACTERS]
    while (cleaned := _cleaned_once(text)) != text:
        text = cleaned
    return text


def is_valid_text(text: str) -> bool:
    """Tell whether song_aboutness takes the text.

    1 to 100 characters on one line, no NUL, encodable as UTF-8, and without ``[confidence:`` in any case, nor
    in letters that lower(), upper() or a normalization would turn into it.
    """
    if not 1 <= len(text) <= MAX_CHARACTERS or "\0" in text or text.splitlines() != [text]:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "[confidence:" not in _folded(text)


def _cleaned_once(text: str) -> str:
    bare = _on_one_line(_without_invisible(text))
    bare = _without_confidence_tags(bare)
    bare = _without_emphasis(bare)
    bare = _without_frame(bare)
    bare = _without_wrapping_quotes(bare)
    if bare != text:
        return bare  # something may have been uncovered; the text is cut only when all of that is removed
    text = shortened(text, MAX_CHARACTERS)
    return text if is_valid_text(text) and _says_something(text) else ""


# --- Characters -----------------------------------------------------------------------------------

# Control characters (white space is folded instead), halves of surrogate pairs, marks of direction, and what
# is never drawn. A joined emoji falls apart into its parts.
_INVISIBLE = regex.compile(
    r"(?V1)[[\p{Cc}\p{Cs}\p{Bidi_Control}\p{Noncharacter_Code_Point}\p{Default_Ignorable_Code_Point}"
    r"\uFFF9-\uFFFD]--\s]"
)
_ITEM = regex.compile(r"(?:\n(?:[-–—*+•‣▪●]|\d{1,2}[.)])| [•‣▪●]) ")


def _without_invisible(text: str) -> str:
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text))


def _on_one_line(text: str) -> str:
    """Fold white space; the items of a list are joined by commas."""
    lines = "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))
    return str(_ITEM.sub(_comma, lines)).replace("\n", " ")


def _comma(item: regex.Match[str]) -> str:
    return ", " if item.string[: item.start()][-1:].isalnum() else " "


# --- Confidence tags ------------------------------------------------------------------------------

_LEVEL = r"(?:very\s+)?(?:low|medium|moderate|high|\d{1,3}(?:\.\d+)?\s*%?)"
# Models trained on Chinese write full-width signs.
_OPEN, _CLOSE, _COLON = r"[\[({（【]", r"[\])}）】]", r"[:=：]"
_NO_BRACKET = r"[^\[\](){}（）【】]"
_TAG = regex.compile(
    rf"""(?xi)\s*(?:
        {_OPEN}++ \s* (?:\w+[\s_])? confidence (?:\s+(?:level|score))? \s* (?:
            {_COLON} {_NO_BRACKET}* {_CLOSE}+  # [confidence: high]
          | [-–—|,]? \s* {_LEVEL} \s* {_CLOSE}+  # (confidence high)
          | {_COLON} (?: \s*{_LEVEL}\b | {_NO_BRACKET}*\Z )  # [confidence: high, never closed
        )
      | {_OPEN}++ \s* {_LEVEL} [\s-]* confidence \s* {_CLOSE}+  # (high confidence)
      | (?<!\w) confidence \s* {_COLON} \s* {_LEVEL}\b \.?  # confidence: high
    )"""
)
_MARKS = regex.compile(r"[\p{Mn}\p{Me}\p{Cf}]+")


def _without_confidence_tags(text: str) -> str:
    if "confidence" not in text.casefold():  # nearly always, and much faster than the search
        return text
    return str(_TAG.sub(lambda tag: " " if text[tag.end() :][:1].isalnum() else "", text)).strip()


def _folded(text: str) -> str:
    """Return text without case, width, accents and ligatures.

    A tag is looked for in this form, because lower(), upper() or ILIKE would find it there: ``ﬁ``, ``ı``
    and ``İ`` all become plain letters under one of them.
    """
    if text.isascii():
        return text.lower()
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return str(_MARKS.sub("", letters)).replace("ı", "i")  # the dotless i, whose capital is I


# --- What a model puts around a text --------------------------------------------------------------

_EMPHASIS = regex.compile(r"(?<![\w*])(\*{1,3}|_{1,3}|`+)(?=\S)(.+?)(?<=\S)\1(?![\w*])")
_LEAD = regex.compile(r"\A(?:[\s\-–—+*_~|\\>#=•·‣▪●…,;:.!?)\]}]+|\(?\d{1,2}[.)]\s+)+")
_LABEL = regex.compile(
    r"""(?xi)\A ["']? (?:(?:the|key|main|evoked)\s)?
    (?:emotions?|emotional\stone|feelings?|moods?|moments?|situations?|scenes?|text|answer)
    (?:[ _-](?:text|evoked|conveyed))? ["']? (?: \s*[:：=]\s* | \s[-–—]\s )"""
)
_COUNT = regex.compile(r"\s*[(\[]\d{1,3}\s*char(?:acter)?s?[)\]]\.?\Z")  # the prompt names a length


def _without_emphasis(text: str) -> str:
    return str(_EMPHASIS.sub(r"\2", text))


def _without_frame(text: str) -> str:
    text = _LEAD.sub("", text)
    text = _LABEL.sub("", text)
    text = _COUNT.sub("", text)
    return text.rstrip(TRAILING_SEPARATORS)


_DOUBLE_QUOTES = '"“”„«»「」'
_DOUBLE_QUOTE = regex.compile(f"[{_DOUBLE_QUOTES}]")
# Double quotes around a text without others inside; single ones likewise, but for apostrophes within words.
_QUOTED = (
    regex.compile(rf"\A[{_DOUBLE_QUOTES}]([^{_DOUBLE_QUOTES}]*)[{_DOUBLE_QUOTES}]([.!?…]?)\Z"),
    regex.compile(
        r"(?i)\A['‘’](?!(?:til|tis|twas|cause|bout|em|round|\d0s)\b)((?:[^'‘’]|(?<=\w)['’](?=\w))*)['’]([.!?…]?)\Z"
    ),
)


def _without_wrapping_quotes(text: str) -> str:
    """Drop quotes around the whole, and a lone one at either end; quoted words inside keep theirs."""
    for quoted in _QUOTED:
        text = quoted.sub(r"\1\2", text)
    if len(_DOUBLE_QUOTE.findall(text)) == 1:
        text = text.strip(_DOUBLE_QUOTES)
    return text.strip()


# --- Texts that say nothing -----------------------------------------------------------------------

_LETTER = regex.compile(r"\p{L}")
_NOT_KNOWN = regex.compile(
    r"""(?xi) \bas\san\sai\b
      | (?:\bnot|n['’]t|\bcannot|\bunable\sto)\s(?:know|recogni[sz]e|identify|determine|find)
        \s(?:this|the)\s(?:song|track|artist)
      | \b(?:no|not\senough|insufficient)\s(?:information|data)\b"""
)
_PLACEHOLDERS = frozenset(
    "na nan none null undefined unknown unclear unsure unavailable notavailable notapplicable "  # noqa: SIM905
    "notknown notspecified noidea idk tbd nothing emotion emotions emotionstext moment moments momentstext "
    "text string low medium high confidence".split()
)


def _says_something(text: str) -> bool:
    spoken = letters_and_digits(text)
    return bool(_LETTER.search(text)) and spoken not in _PLACEHOLDERS and not _NOT_KNOWN.search(text)
