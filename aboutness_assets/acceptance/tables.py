"""Plain-text tables for a log or a terminal."""

from collections.abc import Sequence


def plain_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """The rows under their head, in columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(" |")
        for row in (head, *rows)
    ]
    return "\n".join([lines[0], "-+-".join("-" * width for width in widths), *lines[1:]])


def yes_or_no(passed: bool) -> str:
    """A cell that is seen at a glance when it did not pass."""
    return "yes" if passed else "NO"
