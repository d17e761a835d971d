"""What a run pays, from which budget, and how fast it may be."""

from dataclasses import dataclass

from aboutness_assets.money.estimate import RateLimits
from aboutness_assets.money.tariff import Tariff


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run pays, from which budget, and how fast it may be.

    host: the provider's server. limits: as configured. limit_name: of what is known of them beside that.
    """

    host: str
    chat_model: str
    reasoning_effort: str
    embedding_model: str
    tariff: Tariff
    budget: str
    max_usd: float | None
    range_size: int
    limits: RateLimits
    limit_name: str
