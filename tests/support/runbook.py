"""The runbook of docs/operating.md as a test follows it: what each of its steps names, and its pictures."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operating.md"
CHAPTER = "Runbook"


def steps() -> dict[str, list[str]]:
    """For each heading of the runbook what stands in bold below it: all that is pressed or seen, in order."""
    text = PAGE.read_text("utf-8")
    [chapter] = re.findall(rf"^## {CHAPTER}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    _, *parts = re.split(r"^### (.+)\n", chapter, flags=re.MULTILINE)
    return {
        heading: [" ".join(words.split()) for words in re.findall(r"\*\*(.+?)\*\*", body, re.DOTALL)]
        for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }


def pictures() -> set[str]:
    """The names of all pictures that a page shows."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    return {
        name
        for page in pages
        for name in re.findall(r"\]\((?:docs/)?pictures/([\w-]+\.png)\)", page.read_text("utf-8"))
    }
