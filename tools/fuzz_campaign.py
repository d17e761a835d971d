"""Every target under the fuzzer, one after the other: python -m tools.fuzz_campaign [INPUTS [SEED]]."""

import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.targets import TARGETS, Target

INPUTS = 1_000_000
MAX_BYTES = 1_500  # of one input; an answer to ten songs has about 3,000
MAX_SECONDS = 20  # for one input; longer is a finding
HARNESS = "tools.fuzz_harness"
FINDINGS = Path(__file__).parents[1] / ".fuzz"


@dataclass(frozen=True)
class Result:
    """What became of one target; finding is the end of the fuzzer's output where an input broke a promise."""

    inputs: int
    seconds: float
    finding: str | None


def fuzz(name: str, target: Target, inputs: int, seed: int) -> Result:
    """Let the fuzzer try so many inputs on one target; it ends at the first that breaks a promise."""
    with tempfile.TemporaryDirectory() as directory:
        corpus, dictionary = Path(directory, "corpus"), Path(directory, "words")
        corpus.mkdir()
        for number, text in enumerate(target.seeds):
            (corpus / str(number)).write_text(text, "utf-8")
        dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words), "ascii")
        started = time.monotonic()
        done = subprocess.run(
            [
                *(sys.executable, "-m", HARNESS, name, corpus, f"-dict={dictionary}"),
                *(f"-runs={inputs}", f"-seed={seed}", f"-max_len={MAX_BYTES}", f"-timeout={MAX_SECONDS}"),
                *(f"-artifact_prefix={FINDINGS}/{name}-", "-print_final_stats=1"),
            ],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        seconds = time.monotonic() - started
    executed = re.search(r"number_of_executed_units: (\d+)", done.stdout)
    # What stands before is the log of what the fuzzer learnt.
    finding = re.sub(r"(?m)^(?:INFO:|#\d+\s|stat::).*\n?", "", done.stdout) if done.returncode else None
    return Result(int(executed[1]) if executed else 0, seconds, finding)


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


def main() -> None:
    """Print a line a target, and what was found; exits with 1 where anything was."""
    if find_spec("atheris") is None:
        sys.exit("The fuzzer atheris is not installed: pip install atheris (Linux, x86-64).")
    inputs = int(sys.argv[1]) if len(sys.argv) > 1 else INPUTS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1, 2**31)
    FINDINGS.mkdir(exist_ok=True)
    (FINDINGS / ".gitignore").write_text("*\n")
    print(f"{inputs} inputs over {len(TARGETS)} targets, seed {seed}")
    print(f"{'target':<16} {'inputs':>9} {'seconds':>8} {'findings':>9}", flush=True)
    results = []
    for name, target in TARGETS.items():
        result = fuzz(name, target, -(-inputs // len(TARGETS)), seed)
        results.append(result)
        findings = int(result.finding is not None)
        print(f"{name:<16} {result.inputs:>9} {result.seconds:>8.1f} {findings:>9}", flush=True)
    total = sum(result.inputs for result in results)
    findings = sum(result.finding is not None for result in results)
    print(f"{'total':<16} {total:>9} {sum(result.seconds for result in results):>8.1f} {findings:>9}")
    for result in results:
        if result.finding is not None:
            print(f"\n{result.finding}")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
