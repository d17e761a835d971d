"""docs/endpoints.md, made of the table of cases."""

from pathlib import Path

from tests.endpoints.case import Case, FailsAlone, Fills, Provider, Stops
from tests.endpoints.cases import PROVIDERS
from tests.endpoints.cases.other import OTHER
from tools.endpoints_report import document, outcome

DOCUMENT = Path(__file__).parents[2] / "docs/endpoints.md"


def case(expected: Fills | FailsAlone | Stops, what: str = "is there") -> Case:
    return Case(what, "https://example.com", (), expected)


def test_the_document_is_that_of_the_table() -> None:
    assert DOCUMENT.read_text("utf-8") == document(PROVIDERS), "Run make endpoints."


def test_every_outcome_is_told() -> None:
    assert outcome(case(Fills())) == "fills, with no request more"
    assert outcome(case(Fills(1))) == "fills, with at most 1 request more"
    assert outcome(case(Fills(3, "slow down"))).endswith("3 requests more; a warning quotes “slow down”")
    assert outcome(case(FailsAlone("no", ("refused",)))) == "one song fails (`refused`)"
    assert outcome(case(Stops("no money", 4))) == "stops within 4 requests: “no money”"


def test_a_pipe_breaks_no_table() -> None:
    made = document([Provider("A|B", "", (case(Fills(), "sends a | b"),))])
    assert "| Sends a \\| b | fills, with no request more | [source](https://example.com) |" in made


def test_every_case_is_told_once() -> None:
    whats = [(provider.name, case.what) for provider in PROVIDERS for case in provider.cases]
    assert len(whats) == len(set(whats))
    assert all(
        case.source.startswith("https://") or provider is OTHER
        for provider in PROVIDERS
        for case in provider.cases
    )
