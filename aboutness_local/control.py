"""The control document: how the simulated provider is to behave. No behavior here, only the values."""

from importlib.util import find_spec
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from aboutness_local.exchange import Route
from aboutness_local.faults import FAULTS
from aboutness_local.rate_limit import Limits, NotNegative, Share
from aboutness_local.token_rules import TokenRuleName

Parameter: TypeAlias = Literal[
    "dimensions",
    "encoding_format",
    "max_completion_tokens",
    "max_tokens",
    "reasoning_effort",
    "response_format",
    "service_tier",
]
"""What endpoints are known to refuse."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RouteFaults(_Strict):
    """The faults of one route, by script and by probability."""

    probabilities: dict[str, Share] = {}
    """Of each fault, once the script is used up; their sum is at most 1."""
    script: list[str | None] = []
    """One entry per request, in the order of arrival; null is an honest reply."""

    @model_validator(mode="after")
    def _at_most_certain(self) -> Self:
        if sum(self.probabilities.values()) > 1 + 1e-9:
            raise ValueError("The probabilities of one route sum to more than 1; make them smaller.")
        return self


class Latency(_Strict):
    """Seconds before the first byte of a reply."""

    chat: NotNegative = 0
    embeddings: NotNegative = 0


class ChatPrices(_Strict):
    """Dollars per million tokens at the default tier; cached is the price of cached prompt tokens."""

    input: NotNegative = 0
    cached: NotNegative = 0
    output: NotNegative = 0


class Prices(_Strict):
    """What GET /billing charges; an embedding's price is in dollars per million tokens."""

    chat: ChatPrices = ChatPrices()
    embedding: NotNegative = 0


class Control(_Strict):
    """How the provider is to behave; the default is honest, immediate, unlimited and free of charge."""

    seed: int = 0
    latency_seconds: Latency = Latency()
    limits: Limits = Limits()
    """Each route has them for itself."""
    chat: RouteFaults = RouteFaults()
    embeddings: RouteFaults = RouteFaults()
    poison: dict[str, str] = {}
    """Part of a title -> the fault of every chat request with such a song."""
    refused_parameters: list[Parameter] = []
    """Requests with one of these are refused with 400."""

    prices: Prices = Prices()
    cached_share: Share = 0
    """The share of every prompt that counts as cached."""
    answer_length: Annotated[float, Field(ge=1)] = 1
    """How many times as long as needed every chat answer is; what is added is white space."""
    tokens: TokenRuleName = "characters"
    """How tokens are counted; with ``o200k``, white space that makes answers longer hardly counts."""

    @model_validator(mode="after")
    def _tokenizer_is_there(self) -> Self:
        if self.tokens == "o200k" and find_spec("bpe_openai") is None:
            raise ValueError("Counting by o200k needs the extra: pip install 'aboutness-assets[tokens]'")
        return self

    @model_validator(mode="after")
    def _known_faults(self) -> Self:
        named: list[tuple[Route, str]] = [("chat", name) for name in self.poison.values()]
        routes: tuple[tuple[Route, RouteFaults], ...] = (("chat", self.chat), ("embeddings", self.embeddings))
        for route, faults in routes:
            named += [(route, name) for name in faults.probabilities]
            named += [(route, name) for name in faults.script if name is not None]
        for route, name in named:
            if name not in FAULTS or route not in FAULTS[name].routes:
                known = ", ".join(fault.name for fault in FAULTS.values() if route in fault.routes)
                raise ValueError(f"There is no fault {name!r} of {route}; choose among {known}.")
        return self
