"""``python -m benchmarks.contenders NAME``: does the Job on standard input, prints CPU seconds by stage.

The contender warms up on other songs first, so that imports, compiling and first connections are not
counted. The rows of the warm-up stay.
"""

import json
import sys
from importlib import import_module

from benchmarks.contenders.job import Job, Meter

contender = import_module(f"benchmarks.contenders.{sys.argv[1]}")
job = Job(**json.load(sys.stdin))
contender.run(job, job.warm_up, Meter())
meter = Meter()
contender.run(job, job.songs, meter)
print(json.dumps(meter.seconds))
