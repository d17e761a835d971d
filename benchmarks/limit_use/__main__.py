"""Single cells, as in ``python -m benchmarks.limit_use --cell 5000-2-headers``; prints them as JSON."""

import argparse
import json
from dataclasses import asdict

from benchmarks.limit_use.cells import cells
from benchmarks.limit_use.measure import measure

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--cell", action="append", default=[], choices=[cell.name for cell in cells()])
for cell in cells():
    if cell.name in parser.parse_args().cell:
        print(json.dumps(asdict(measure(cell))))
