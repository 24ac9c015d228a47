"""Previews of prompts of the service: at a bounded rate and size, off the graph's thread, on request.

ComfyUI makes a preview at every step, on the thread that samples, which waits for the graphics card each
time. For a prompt whose `extra_data` has the key below, the latent is handed to one thread instead, which
skips what it has no time for. Prompts of others are not touched.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

log = logging.getLogger(__name__)

#: In the `extra_data` of a prompt: whether a client listens from the start.
EXTRA_DATA_KEY = "pixel_factory_previews"
#: Shortest time between two previews of a prompt, in seconds, and their longest edge.
INTERVAL_SECONDS, LONGEST_EDGE = 0.5, 512
#: Prompts that are remembered.
_MAX_PROMPTS = 256

_listening: dict[str, bool] = {}
_busy = threading.Lock()


def set_listening(prompt_id: str, listening: bool) -> None:
    """Switch the previews of a prompt on or off, also while it runs."""
    while len(_listening) >= _MAX_PROMPTS:
        _listening.pop(next(iter(_listening)), None)
    _listening[prompt_id] = listening


def install() -> None:
    """Have samplers ask here for previews. Does nothing for a ComfyUI that makes them in another way."""
    try:
        latent_preview: Any = import_module("latent_preview")
        make: Any = latent_preview.get_previewer
    except (ImportError, AttributeError):
        log.warning("this version of ComfyUI makes previews in an unknown way; they stay as they are")
        return

    def get_previewer(*args: Any, **options: Any) -> Any:
        previewer = make(*args, **options)
        prompt = _running_prompt()
        if previewer is None or prompt is None:
            return previewer
        return BoundedPreviewer(previewer, *prompt)

    latent_preview.get_previewer = get_previewer


def _running_prompt() -> tuple[str, str, Any] | None:
    """Return prompt id, node and client id of a prompt of the service that runs on this thread."""
    server = import_module("server").PromptServer.instance
    context = import_module("comfy_execution.utils").get_executing_context()
    if context is None:
        return None
    extra_data = _extra_data(server.prompt_queue, context.prompt_id)
    if EXTRA_DATA_KEY not in extra_data:
        return None
    _listening.setdefault(context.prompt_id, bool(extra_data[EXTRA_DATA_KEY]))
    return context.prompt_id, context.node_id, server.client_id


def _extra_data(queue: Any, prompt_id: str) -> Mapping[str, Any]:
    with queue.mutex:
        rows = [row for row in queue.currently_running.values() if row[1] == prompt_id]
    return rows[0][3] if rows else {}


class BoundedPreviewer:
    """Takes the place of ComfyUI's previewer for one sampler of one prompt."""

    def __init__(self, previewer: Any, prompt_id: str, node: str, client_id: Any) -> None:
        self._previewer = previewer
        self._prompt_id, self._node, self._client_id = prompt_id, node, client_id
        self._sent_at = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._previewer, name)

    def decode_latent_to_preview_image(self, preview_format: str, x0: Any) -> None:
        """Have a preview made if one is due; never returns one, so that the sampler does not wait for it."""
        now = time.monotonic()
        if not _listening.get(self._prompt_id) or now - self._sent_at < INTERVAL_SECONDS:
            return
        if not _busy.acquire(blocking=False):
            return
        self._sent_at = now
        threading.Thread(target=self._make, args=(x0,), name="pixel-factory-preview", daemon=True).start()

    def _make(self, x0: Any) -> None:
        try:
            with import_module("torch").inference_mode():
                image = self._previewer.decode_latent_to_preview(x0)
            self._send(image)
        except Exception:
            log.exception("cannot make a preview of prompt %s", self._prompt_id)
        finally:
            _busy.release()

    def _send(self, image: Any) -> None:
        server = import_module("server").PromptServer.instance
        kinds = import_module("protocol").BinaryEventTypes
        metadata = {"node_id": self._node, "prompt_id": self._prompt_id}
        preview = ("JPEG", image, LONGEST_EDGE)
        if image is not None and self._client_id is not None:
            server.send_sync(kinds.PREVIEW_IMAGE_WITH_METADATA, (preview, metadata), self._client_id)
