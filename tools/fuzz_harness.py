"""One target under atheris: python -m tools.fuzz_harness TARGET [OPTION OR INPUT ...]."""

import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["aboutness_assets"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name].check)
    atheris.Fuzz()
