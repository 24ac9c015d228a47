"""What a proxy in front of an instance says about it, besides what ComfyUI says itself."""

from __future__ import annotations

#: Header of the responses that the proxy makes itself.
STATE_HEADER = "X-Instance-State"
#: No process listens: what it had in its memory is lost, as after a refused connection.
NOT_RUNNING = "not-running"
