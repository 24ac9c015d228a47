"""What one image costs, counted: requests, commits and thread switches do not depend on the machine.

A number that grows is a change for the worse, however fast the machine of its author is. One that shrinks is
recorded here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: For an image as a URL, on an instance that stores its results itself; without its thumbnail.
BUDGET = {
    # The job with its hold and attempt, the result with the capture; later the response.
    "commits": 3,
    # Those of the commits, and what is read for the key. The job that is waited for is not read.
    "statements of SQL": 31,
    # The prompt; the grant for its result, answered when it is stored; its end.
    "requests to the instance": 3,
    # The instance stores the result. There is no HEAD: nothing is looked for before it is stored, and object
    # storage has acknowledged it with its MD5.
    "requests to object storage": 1,
}


def test_an_image_costs_no_more_than_it_did() -> None:
    command = [sys.executable, "-m", "scripts.bench.job_costs", "--images", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    # What is not listed, such as a switch to a thread, is not part of it.
    costs = {kind: number for kind, number in json.loads(done.stdout).items() if number}
    assert {kind: number for kind, number in costs.items() if number > BUDGET.get(kind, 0)} == {}
    assert costs.keys() == BUDGET.keys()
