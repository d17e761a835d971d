"""The faults that the stand-in endpoint injects when a test asks for them.

Each is a small function with the name that the control document uses; it alters an honest exchange, or raises
ApiError. Where it alters the entry of one song, the song is drawn at random, by the plan's seed.
"""

from aboutness_local.faults import answer, entry, money, transport, vectors  # noqa: F401  they register themselves
from aboutness_local.faults.registry import FAULTS, Fault

__all__ = ["FAULTS", "Fault"]
