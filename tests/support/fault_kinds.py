"""The faults of the stand-in endpoint, by what a run can do about them."""

from aboutness_local.exchange import Route
from aboutness_local.faults import FAULTS

FATAL = frozenset({"http_401", "http_403", "http_404_model", "insufficient_quota"})
"""They stop the run, whatever the song."""

UNSEEN = frozenset({"swapped_texts", "bleed_of_one_text"})
"""Wrong answers that nothing within the answer gives away; benchmarks/lying_answers.py measures them."""


def survivable(route: Route) -> list[str]:
    """The faults of a route under which the run goes on and every row gets its own song's texts."""
    return [name for name, fault in FAULTS.items() if route in fault.routes and name not in FATAL | UNSEEN]
