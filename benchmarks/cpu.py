"""CPU time per pack of 10 songs, stage by stage: ours, the floor, and what a user would pick instead.

Each contender is a process of its own; only its own CPU counts, not that of Postgres or the endpoint, which
answers at once and limits nothing. The contenders take turns, so that whatever else the machine does falls
on all of them alike.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from aboutness_assets.domain.songs import Song
from aboutness_assets.generation.packs import Pack
from aboutness_assets.generation.prompt import SYSTEM_PROMPT, response_format
from benchmarks.contenders.job import PACK_SIZE, Job
from benchmarks.contenders.own_python import python_with
from benchmarks.contenders.transports import REQUESTS, WAYS
from benchmarks.endpoint.process import PROJECT
from benchmarks.environment import Environment, environment, real_songs
from benchmarks.result import Result, Table

WARM_UP_SONGS, SONGS = 1000, 5000
"""Of each process: whole ranges."""

ROUNDS = 3
TARGET_MS = 6.0
"""Of a pack, everything but Dagster (issue 4)."""

STAGES = ("chat", "journal", "embedding", "insert")

OPENAI = (
    f"openai=={version('openai')}",
    f"psycopg[binary]=={version('psycopg')}",
    f"numpy=={version('numpy')}",
    "pgvector==0.5.1",
)
CURATOR = ("bespokelabs-curator==0.1.31",)


@dataclass(frozen=True, slots=True)
class _Contender:
    module: str
    title: str
    python: Path


TRANSPORTS = _Contender("transports", "transports", Path(sys.executable))
"""Compared request by request, not over a job."""

IMPORTS = {
    "this project's pipeline (aboutness_assets.pipeline.runs)": "import aboutness_assets.pipeline.runs",
    "with the openai client, as a run needs it": "import aboutness_assets.pipeline.runs, openai, aiohttp",
    "Dagster": "import dagster",
    "the whole code location (aboutness_assets.definitions)": "import aboutness_assets.definitions",
}
"""Statements whose CPU time a process pays once."""

_IMPORT = "from benchmarks.contenders.job import cpu_seconds as s; began = s(); {}; print(s() - began)"


def run() -> Result:
    """Measure every contender that installs."""
    contenders = _contenders()
    with environment(WARM_UP_SONGS + SONGS) as made:
        job = _job(made)
        rounds: dict[str, list[dict[str, float]]] = {contender.module: [] for contender in contenders}
        transports: list[dict[str, float]] = []
        for number in range(ROUNDS):
            for contender in contenders:
                made.empty()
                stages = _milliseconds_a_pack(contender, job)
                rounds[contender.module].append(stages)
                told = ", ".join(f"{stage} {of_it:.2f}" for stage, of_it in stages.items())
                print(f"  {number + 1}/{ROUNDS} {contender.title}: {told} ms per pack", file=sys.stderr)
            made.empty()
            transports.append(_seconds(TRANSPORTS, job))
    imports = {
        title: [_import_seconds(statement) for _ in range(ROUNDS)] for title, statement in IMPORTS.items()
    }
    ours = _median([stages["pipeline"] for stages in rounds["pipeline"]])
    floor = _median([sum(stages.values()) for stages in rounds["floor"]])
    return Result(
        name="cpu",
        title="CPU",
        summary=(
            f"CPU time of the own process for a pack of {PACK_SIZE} songs, at no latency and no limit; "
            f"median of {ROUNDS} rounds of {SONGS:,} songs, the contenders in turn. The whole pipeline takes "
            f"**{ours:.2f} ms per pack** ({_per_thousand(ours):.2f} s per thousand songs), "
            f"{ours / floor:.1f} times the floor; "
            f"target {TARGET_MS:g} ms: {'met' if ours <= TARGET_MS else 'missed'}."
        ),
        tables=[
            _stage_table(contenders, rounds),
            _total_table(contenders, rounds, floor),
            _transport_table(transports),
            _import_table(imports),
        ],
        data={"ms_a_pack": rounds, "transport_seconds": transports, "import_seconds": imports},
    )


def _contenders() -> list[_Contender]:
    own = Path(sys.executable)
    candidates = [
        ("pipeline", "ours, the whole pipeline", own),
        ("ours", "ours, each stage by itself", own),
        ("floor", "floor: aiohttp, least parsing, executemany", own),
        (
            "openai_gather",
            "openai client, semaphore and gather, pgvector",
            python_with(OPENAI, "openai_gather"),
        ),
        ("cookbook", "cookbook's parallel request processor, as text", own),
        ("curator", "bespokelabs-curator, generation only", python_with(CURATOR, "curator")),
    ]
    return [_Contender(module, title, python) for module, title, python in candidates if python is not None]


def _job(made: Environment) -> Job:
    songs = [(number, *song) for number, song in enumerate(real_songs()[: WARM_UP_SONGS + SONGS], start=1)]
    pack = Pack(tuple(Song(*song) for song in songs[:PACK_SIZE]))
    settings = made.settings()
    return Job(
        base_url=made.endpoint.base_url,
        service_url=made.service_url,
        operations_url=made.operations_url,
        chat_model=settings.chat_model,
        embedding_model=settings.embedding_model,
        system_prompt=SYSTEM_PROMPT,
        response_format=response_format(pack),
        warm_up=songs[:WARM_UP_SONGS],
        songs=songs[WARM_UP_SONGS:],
    )


def _milliseconds_a_pack(contender: _Contender, job: Job) -> dict[str, float]:
    packs = len(job.songs) / PACK_SIZE
    return {stage: 1000 * of_it / packs for stage, of_it in _seconds(contender, job).items()}


def _seconds(contender: _Contender, job: Job) -> dict[str, float]:
    """CPU seconds by stage."""
    finished = subprocess.run(
        [contender.python, "-m", "benchmarks.contenders", contender.module],
        input=json.dumps(asdict(job)),
        capture_output=True,
        check=False,
        text=True,
        cwd=PROJECT,
    )
    if finished.returncode:
        raise RuntimeError(f"{contender.title} failed: {finished.stderr[-2000:]}")
    seconds: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return seconds


def _import_seconds(statement: str) -> float:
    command = [sys.executable, "-W", "ignore", "-c", _IMPORT.format(statement)]
    return float(subprocess.check_output(command, cwd=PROJECT, text=True))


def _stage_table(
    contenders: Sequence[_Contender], rounds: Mapping[str, Sequence[Mapping[str, float]]]
) -> Table:
    rows: list[list[str | float | int]] = []
    for contender in contenders:
        measured = rounds[contender.module]
        if contender.module != "pipeline":
            rows.append(
                [
                    contender.title,
                    *(_spread([stages[stage] for stages in measured if stage in stages]) for stage in STAGES),
                ]
            )
    return Table(
        "By stage: milliseconds per pack, median (least–most)",
        ["contender", *STAGES],
        rows,
        "Stages one after the other, with 64 chat requests, 4 embedding requests of 1,000 texts and "
        "transactions of 500 rows. Ours includes the throttle's reservations under chat, and every check.",
    )


def _total_table(
    contenders: Sequence[_Contender], rounds: Mapping[str, Sequence[Mapping[str, float]]], floor: float
) -> Table:
    rows: list[list[str | float | int]] = []
    for contender in contenders:
        totals = [sum(stages.values()) for stages in rounds[contender.module]]
        if contender.module != "curator":
            middle = _median(totals)
            rows.append([contender.title, _spread(totals), _per_thousand(middle), middle / floor])
    return Table(
        "In all",
        ["contender", "ms per pack, median (least–most)", "CPU s per thousand songs", "times the floor"],
        rows,
        "Contenders that only generate are not in this table.",
    )


def _transport_table(rounds: Sequence[Mapping[str, float]]) -> Table:
    def milliseconds(kind: str, way: str) -> float:
        return 1000 * _median([seconds[f"{kind}: {way}"] for seconds in rounds]) / REQUESTS[kind]

    return Table(
        "Ways of sending one request: milliseconds, median",
        ["way", "chat, 10 songs", *(f"embedding, {kind}" for kind in REQUESTS if kind != "chat")],
        [[way, *(milliseconds(kind, way) for kind in REQUESTS)] for way in WAYS],
        "The answer read as this project does it, except where the client parses it. Vectors as base64.",
    )


def _import_table(imports: Mapping[str, Sequence[float]]) -> Table:
    return Table(
        "Imports: CPU seconds of a process, once",
        ["what", "s, median (least–most)"],
        [[title, _spread(seconds)] for title, seconds in imports.items()],
        "Bytecode compiled; each row in a new process.",
    )


def _per_thousand(ms_a_pack: float) -> float:
    return ms_a_pack / PACK_SIZE  # 1,000 songs, 1,000 ms


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _spread(values: Sequence[float]) -> str:
    return f"{_median(values):.2f} ({min(values):.2f}–{max(values):.2f})" if values else "–"
