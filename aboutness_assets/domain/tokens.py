"""How many tokens a text is likely to be."""

from math import ceil

# tiktoken downloads its vocabulary at run time, so tokens are estimated: OpenAI's rule of thumb is four
# characters a token for English; other scripts need up to a token a character.
_ASCII_CHARACTERS_PER_TOKEN = 4


def estimate_tokens(text: str) -> int:
    """Tokens that a text is likely to be: a quarter of its ASCII characters, rounded up, and all others."""
    ascii_characters = len(text.encode("ascii", "ignore"))
    return ceil(ascii_characters / _ASCII_CHARACTERS_PER_TOKEN) + len(text) - ascii_characters
