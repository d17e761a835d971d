"""One target under atheris: python harness.py TARGET [options of libFuzzer, inputs, directories of them]."""

import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["aboutness_assets"]):
    from targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name].check)
    atheris.Fuzz()
