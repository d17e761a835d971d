"""A short campaign of the fuzzer; `make fuzz` is the long one."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

INPUTS, SEED = 5_000, 1  # always the same inputs, a few seconds


@pytest.mark.thorough
@pytest.mark.skipif(find_spec("atheris") is None, reason="the fuzzer atheris is not installed here")
def test_no_input_breaks_a_promise_of_a_parser() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.fuzz_campaign", str(INPUTS), str(SEED)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
