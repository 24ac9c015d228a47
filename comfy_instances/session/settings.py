"""How patient a session is, and how much it takes. Durations in seconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionSettings:
    #: How long `run` waits for the socket before it calls the instance gone.
    connect_timeout_s: float = 5.0
    #: A prompt of which the socket has said nothing for so long is asked for over HTTP.
    silence_s: float = 3.0
    #: An instance that leaves us without an answer for so long has lost its prompts.
    gone_after_s: float = 30.0
    #: So long may work wait on an instance that runs nothing; then its worker is taken for dead.
    stalled_after_s: float = 15.0
    #: How long `cancel` waits for the instance to let go (a long node yields only at its end).
    cancel_timeout_s: float = 60.0
    #: Reconnecting: the first pause is at most this, doubled each time up to the other, at random within.
    backoff_min_s: float = 0.05
    backoff_max_s: float = 2.0
    #: Largest frame taken from the socket (a 2048x2048 picture of noise is 12.6 MB).
    max_frame_bytes: int = 256 * 2**20
    #: Largest file taken by `fetch`.
    max_output_bytes: int = 2 * 2**30
    #: Node classes whose pictures on the socket are results, not previews.
    socket_output_classes: frozenset[str] = frozenset({"SaveImageWebsocket"})
