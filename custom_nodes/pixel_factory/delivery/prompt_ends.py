"""Learn when the graph's thread has ended a prompt and reported its end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

log = logging.getLogger(__name__)


def install(queue: Any, on_end: Callable[[str], None]) -> None:
    """Call `on_end` with the id of each prompt that ends, on the graph's thread.

    Does nothing for a ComfyUI whose queue ends prompts in another way.
    """
    try:
        end, _ = queue.task_done, queue.currently_running
    except AttributeError:
        log.warning("this version of ComfyUI ends prompts in an unknown way; encoders wait for a fixed time")
        return

    @wraps(end)
    def task_done(item_id: Any, *arguments: Any, **options: Any) -> Any:
        prompt = queue.currently_running.get(item_id)
        try:
            return end(item_id, *arguments, **options)
        finally:
            if prompt is not None:
                on_end(str(prompt[1]))

    queue.task_done = task_done
