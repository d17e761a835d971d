"""The faults that the stand-in endpoint injects when a test asks for them.

Each is a small function, named as the control document names it, that alters an honest exchange or raises
ApiError in its place. Where it alters the entry of one song, the song is drawn by the plan's seed.
"""

from aboutness_local.faults import answer, entry, money, transport, vectors  # noqa: F401  they register themselves
from aboutness_local.faults.registry import FAULTS, Fault

__all__ = ["FAULTS", "Fault"]
