"""Keeps Python's garbage collector from stopping the graph's thread for what never becomes garbage.

ComfyUI collects garbage between prompts, every ten seconds. Each time the collector visits half a million
objects of modules that stay as long as the process: for a quarter of a second the graphics card waits.
"""

from __future__ import annotations

import gc
from typing import Any


async def exempt_modules(_: Any = None) -> None:
    """Have later collections ignore what exists now.

    Called when ComfyUI has loaded its packs and no prompt has run yet: models and tensors are made later, and
    are collected as before.
    """
    gc.collect()
    gc.freeze()
