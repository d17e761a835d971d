"""The faults of the stand-in endpoint by what a run can do about them."""

from aboutness_local.exchange import Route
from aboutness_local.faults import FAULTS

FATAL = frozenset({"http_401", "http_403", "http_404_model", "insufficient_quota"})
"""No song can survive them: the run stops."""

UNSEEN = frozenset({"swapped_texts", "bleed_of_one_text"})
"""Lies that nothing within an answer gives away; benchmarks/lying_answers.py measures them."""


def survivable(route: Route) -> list[str]:
    """The faults of a route that cost no song its own texts and no run its life."""
    return [name for name, fault in FAULTS.items() if route in fault.routes and name not in FATAL | UNSEEN]
