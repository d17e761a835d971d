"""The whole asset graph against the committed text, so that a review shows what a person will see change."""

from aboutness_assets.definitions import build_defs
from tools.asset_graph import SNAPSHOT, describe


def test_the_asset_graph_is_as_committed() -> None:
    """If a change is intended: ``python -m tools.asset_graph``, and commit the file."""
    assert describe(build_defs()) == SNAPSHOT.read_text(encoding="utf-8")
