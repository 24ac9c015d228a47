"""Timeouts and limits of a session. Durations are seconds, sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionSettings:
    """Timeouts, retry pauses and size limits."""

    #: `run_prompt` waits this long for an open socket before it raises InstanceGone.
    connect_timeout_s: float = 5.0
    #: After this long without a message about a prompt its state is read over HTTP.
    silence_s: float = 3.0
    #: An instance that does not respond for this long is gone, and its prompts fail.
    gone_after_s: float = 30.0
    #: Longest time for which one request waits for a change of a delivery. Below what proxies cut off.
    delivery_wait_s: float = 5.0
    #: After this long without the message that results are encoded, their instance is asked.
    encoded_wait_s: float = 0.25
    #: A prompt may wait this long on an instance that runs nothing; then its worker counts as dead.
    stalled_after_s: float = 15.0
    #: `cancel_prompt` waits this long for the prompt to stop (a long node stops only at its end).
    cancel_timeout_s: float = 60.0
    #: Longest pause before the first and before a late reconnect; the actual pause is random below it.
    backoff_min_s: float = 0.05
    backoff_max_s: float = 2.0
    #: Largest frame accepted from the socket (a 2048x2048 image of noise is 12.6 MB).
    max_frame_bytes: int = 256 * 2**20
    #: Largest file that `fetch_file` downloads.
    max_output_bytes: int = 2 * 2**30
    #: Node classes whose images on the socket are results, not previews.
    socket_output_classes: frozenset[str] = frozenset({"SaveImageWebsocket"})
    #: Token of a proxy in front of the instance; sent with every request. None: ComfyUI itself has no tokens.
    token: str | None = field(default=None, repr=False)

    @property
    def auth_headers(self) -> dict[str, str]:
        """Return the headers that authenticate requests and the websocket."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
