"""How the simulated provider counts tokens: a quarter of the characters, or as OpenAI's tokenizer does."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

TokenRuleName: TypeAlias = Literal["characters", "o200k"]

CHARACTERS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English text."""
TOKENS_PER_MESSAGE, TOKENS_BEFORE_ANSWER = 3, 3
"""OpenAI's frame around messages: its cookbook, "How to count tokens with tiktoken"."""


@dataclass(frozen=True, slots=True)
class TokenRule:
    """A way to count tokens, and the JSON that is counted.

    text: the tokens of a text. first: a text's first tokens, at most so many. separators: of the JSON of
    answers. counts_frame: whether a prompt is more than its messages' texts: schema and frame.
    """

    text: Callable[[str], int]
    first: Callable[[str, int], str]
    separators: tuple[str, str]
    counts_frame: bool

    def prompt(self, request: dict[str, Any], texts: list[str]) -> int:
        """The tokens of a chat request whose messages have these texts."""
        tokens = sum(map(self.text, texts))
        if self.counts_frame:
            schema = request.get("response_format")
            tokens += (
                self.text(json.dumps(schema, ensure_ascii=False, separators=(",", ":"))) if schema else 0
            )
            tokens += TOKENS_PER_MESSAGE * len(texts) + TOKENS_BEFORE_ANSWER
        return tokens


def token_rule(name: TokenRuleName) -> TokenRule:
    """The rule of that name; ``o200k`` needs the extra ``tokens``."""
    return BY_CHARACTERS if name == "characters" else _by_tokenizer()


def _quarter_of_characters(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


BY_CHARACTERS = TokenRule(
    _quarter_of_characters, lambda text, tokens: text[: tokens * CHARACTERS_PER_TOKEN], (", ", ": "), False
)


@cache
def _by_tokenizer() -> TokenRule:
    """o200k over messages, schema and answer; answers are compact JSON, as models write it."""
    from bpe_openai import get_encoding  # type: ignore[import-untyped]

    encoding = get_encoding("o200k_base")

    def tokens_of(text: str) -> list[int]:
        tokens: list[int] = encoding.encode_ordinary(text.encode("utf-8", "replace").decode())
        return tokens

    def first(text: str, tokens: int) -> str:
        return str(encoding.decode(tokens_of(text)[:tokens]) or "")

    return TokenRule(lambda text: len(tokens_of(text)), first, (",", ":"), True)
