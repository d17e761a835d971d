"""How the endpoint behaves on one route."""

from pydantic import BaseModel, ConfigDict

from aboutness_local.rate_limit import Limits, NotNegative


class Control(BaseModel):
    """One route's latency and limits; the default answers immediately and limits nothing.

    The latency is drawn from a lognormal distribution: latency_median in seconds (0 = immediate) and
    latency_sigma. A 429 is always immediate.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    latency_median: NotNegative = 0
    latency_sigma: NotNegative = 0
    limits: Limits = Limits()
