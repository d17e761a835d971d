"""Makes docs/endpoints.md of the table of cases.

usage: python -m tools.endpoints_report > docs/endpoints.md
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.endpoints.case import Case, FailsAlone, Fills, Provider, Stops
from tests.endpoints.cases import PROVIDERS

INTRODUCTION = """\
# Endpoints

Written by `make endpoints` from the table of cases in `tests/endpoints/cases`. CI runs every case: a
range of real Postgres rows is filled over real HTTP from an endpoint that answers as the table says, and
as OpenAI would where the table says nothing.

- **real**: a test runs the provider's own program.
- **simulated**: answers written for these tests after the provider's documentation or public bug reports,
  which each row names, or thought up. No account of a provider was used, so nothing here was measured on one.

For every case the tests also check that each row has its own song's texts, that every request is in the
ledger, and that each request is as OpenAI's API describes it.

What the rows say:

- **fills**: every song gets its row. Some requests more than usual may find out what the endpoint takes.
- **one song fails**: the song that the endpoint refuses is listed with the reason. Every other one gets
  its row.
- **stops**: the run ends with one sentence that quotes the provider and blames no song. The next run,
  when all is well again, fills the range.
"""

CANNOT_BE_HAD = """\
## What cannot be had

- **Chat and embeddings at two addresses.** `OPENAI_BASE_URL` serves both. Where a provider has only one
  of the two, put a gateway such as LiteLLM's proxy before it and a second provider.
- **APIs of another form.** Google's Vertex AI and Amazon Bedrock want keys that expire within the hour or
  signed requests, and some models are served by the Responses API alone. A gateway speaks for them, too.
- **Streams alone.** An endpoint that answers only as a stream of events cannot be read.
- **Refusals that look like outages.** A title that is refused with the status and the words of an outage
  fails as one: it counts no attempt, and the next run asks for it again.
- **Real limits, prices and texts.** Those of the simulated providers were not measured.
"""


def main() -> None:
    """Print the whole document."""
    print(document(PROVIDERS), end="")


def document(providers: Sequence[Provider]) -> str:
    """The Markdown of the table of cases."""
    sections = [_section(provider) for provider in providers]
    return "\n".join([INTRODUCTION, _overview(providers), *sections, CANNOT_BE_HAD])


def _overview(providers: Sequence[Provider]) -> str:
    rows = [
        [f"[{provider.name}](#{_anchor(provider.name)})", _kind(provider), str(len(provider.cases))]
        for provider in providers
    ]
    return "\n".join([*_table(["provider or program", "tried", "cases"], rows), ""])


def _section(provider: Provider) -> str:
    lines = [f"## {provider.name}", ""]
    if provider.base_url:
        lines += [f"`OPENAI_BASE_URL={provider.base_url}`", ""]
    for sentences in (provider.notes, provider.real):
        lines += [sentences, ""] if sentences else []
    head = ["what the endpoint does", "what the run does", "known from"]
    rows = [
        [
            _capitalized(case.what),
            outcome(case),
            f"[source]({case.source})" if case.source else "thought up",
        ]
        for case in provider.cases
    ]
    return "\n".join([*lines, *_table(head, rows), ""])


def outcome(case: Case) -> str:
    """What a run does in a case, as its row says it."""
    match case.expected:
        case Fills(more_requests, warns):
            told = f"; a warning quotes “{warns}”" if warns else ""
            return f"fills{_more(more_requests)}{told}"
        case FailsAlone(_, causes, _):
            return f"one song fails ({' or '.join(f'`{cause}`' for cause in causes)})"
        case Stops(says, requests):
            return f"stops within {requests} requests: “{says}”"


def _more(requests: int) -> str:
    if not requests:
        return ", with no request more"
    return f", with at most {requests} request{'s' * (requests > 1)} more"


def _kind(provider: Provider) -> str:
    return "real and simulated" if provider.real else "simulated"


def _anchor(title: str) -> str:
    """What GitHub makes of a heading."""
    return "".join(
        "-" if letter == " " else letter.lower() for letter in title if letter.isalnum() or letter in " -_"
    )


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


if __name__ == "__main__":
    main()
