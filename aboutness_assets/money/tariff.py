"""What one run pays: its prices and its tier, applied to requests before and after they are sent."""

from dataclasses import dataclass

from aboutness_assets.domain.chat import Usage
from aboutness_assets.money.ledger import UNCERTAIN, Charge, Outcome
from aboutness_assets.money.prices import CHAT_PRICE, EMBEDDING_PRICE, Price

FRAME_TOKENS = 200
"""Added to the bytes of a request where they bound its prompt tokens: the provider's own frame around it.

OpenAI's chat format adds 3 to 4 tokens per message (its cookbook, "How to count tokens with tiktoken").
"""

TEXTS_PER_SONG = 2
MAX_BYTES_PER_TEXT = 420
"""Of one text in an embedding request: 100 characters of at most 4 bytes, and the JSON around them."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """Prices of the chat and the embedding model, None where unknown, and the tier that is asked for.

    names_standard_tier: whether requests of the standard tier say so. Where they do not, OpenAI's follow the
    project's setting, which may be priority at double price.
    """

    chat: Price | None
    embedding: Price | None
    tier: str
    names_standard_tier: bool = False

    @property
    def source(self) -> str:
        """Where the prices are known from; which setting helps where one is unknown."""
        chat = self.chat.source if self.chat else f"unknown, set {CHAT_PRICE}"
        embedding = self.embedding.source if self.embedding else f"unknown, set {EMBEDDING_PRICE}"
        return chat if chat == embedding else f"chat: {chat}; embeddings: {embedding}"

    @property
    def is_known(self) -> bool:
        """Whether all that is paid for has a price."""
        return self.chat is not None and self.embedding is not None

    @property
    def is_pretend(self) -> bool:
        """Whether the dollars are nobody's."""
        return any(price is not None and price.is_pretend for price in (self.chat, self.embedding))

    def chat_charge(self, model: str, *, body_bytes: int, max_completion_tokens: int) -> Charge:
        """What a chat request can cost at most: a token is at least a byte, and the answer has a limit."""
        usd = None
        if self.chat is not None:
            usd = self.chat.upper_bound(
                prompt_tokens=body_bytes + FRAME_TOKENS,
                completion_tokens=max_completion_tokens,
                tier="default" if self.tier == "standard" and self.names_standard_tier else self.tier,
            )
        return Charge("chat", model, self.tier, usd, max_completion_tokens)

    def embedding_charge(self, model: str, *, body_bytes: int) -> Charge:
        """What an embedding request can cost at most."""
        usd = None
        if self.embedding is not None:
            usd = self.embedding.upper_bound(
                prompt_tokens=body_bytes + FRAME_TOKENS, completion_tokens=0, tier="standard"
            )
        return Charge("embedding", model, "standard", usd)

    def promised_usd(self, songs: int) -> float:
        """What embedding the texts of so many songs can cost at most; 0 where the price is unknown."""
        if self.embedding is None:
            return 0.0
        tokens = songs * TEXTS_PER_SONG * MAX_BYTES_PER_TEXT + 2 * FRAME_TOKENS
        return self.embedding.upper_bound(prompt_tokens=tokens, completion_tokens=0, tier="standard")

    def outcome(self, charge: Charge, usage: Usage | None, tier: str | None) -> Outcome:
        """How an answered request is booked: as billed only where its usage is there and can be true.

        A usage beyond what the request can cost at most contradicts it, and counts as uncertain.
        """
        if usage is None or not usage.is_credible:
            return UNCERTAIN
        if charge.kind == "chat" and usage.completion_tokens > charge.max_completion_tokens:
            return UNCERTAIN
        price = self._price_of(charge)
        billed_tier = tier or charge.tier
        usd = None
        if price is not None:
            usd = price.cost(
                prompt_tokens=usage.prompt_tokens,
                cached_tokens=usage.cached_tokens,
                cache_write_tokens=usage.cache_write_tokens,
                completion_tokens=usage.completion_tokens,
                tier=billed_tier,
            )
            if charge.max_usd is not None and usd > charge.max_usd:
                return UNCERTAIN
        return Outcome("billed", usage, usd, billed_tier)

    def tier_note(self, charge: Charge, outcome: Outcome) -> str | None:
        """A sentence where the price of the tier that was billed is assumed or unknown, else None."""
        price = self._price_of(charge)
        return None if price is None or outcome.tier is None else price.tier_note(outcome.tier)

    def _price_of(self, charge: Charge) -> Price | None:
        return self.chat if charge.kind == "chat" else self.embedding
