"""What the node pack exempts from garbage collection in ComfyUI's process."""

from __future__ import annotations

import subprocess
import sys

from tests.support.service import ROOT

#: In a process of its own: what is exempted stays so.
PROGRAM = """
import asyncio, gc, weakref
from custom_nodes.pixel_factory.delivery.garbage import exempt_modules

class Model:
    def __init__(self):
        self.me = self

gc.disable()
modules = [[number] for number in range(10_000)]
before, early = len(gc.get_objects()), Model()
gone = weakref.ref(early)
del early
asyncio.run(exempt_modules())
assert gone() is None, "garbage of the start is collected"
assert gc.get_freeze_count() > 10_000
assert len(gc.get_objects()) < before / 10, "a collection visits the rest only"
late = Model()
gone = weakref.ref(late)
del late
assert gone() is not None
gc.collect()
assert gone() is None, "models that are made later are collected"
print("done")
"""


def test_collections_visit_only_what_was_made_after_the_start() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["done"], done.stderr
