"""The deliveries: one per prompt, with its files and their states. Thread-safe; no I/O.

working ──► encoded ──► uploading ──► stored
   │           ▲  │          │
   │           └──┼──────────┤ the request was rejected: a new one is needed
   ▼              ▼          ▼
 failed        offered ◄─────┘ the service fetches it itself
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .encoding import EncodedFile

#: Version of the nodes and routes. Raised by changes that the other side must know. Version 2 writes metadata
#: into images.
PROTOCOL = 2
#: What services may ask for.
PROTOCOLS = (1, PROTOCOL)
WORKING, ENCODED, UPLOADING, STORED = "working", "encoded", "uploading", "stored"
OFFERED, FAILED = "offered", "failed"
FINAL = frozenset({STORED, OFFERED, FAILED})
#: Deliveries that no client follows are dropped after this time, in seconds.
UNCLAIMED_SECONDS = 1800.0
#: Most deliveries that are remembered.
MAX_DELIVERIES = 2000


@dataclass(frozen=True)
class Grant:
    """A presigned request for one object. Its URL and headers are secrets."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass
class DeliveryFile:
    """One result. Its bytes are dropped once they are stored or were fetched."""

    number: int
    node: str
    state: str = WORKING
    encoded: EncodedFile | None = None
    grant: Grant | None = field(default=None, repr=False)
    #: How many requests were rejected, such as expired ones.
    rejected: int = 0
    error: str = ""
    #: What object storage calls the stored object: the MD5 of its bytes, unless it encrypts them.
    tag: str = ""
    #: Bytes that it has reserved.
    reserved: int = 0
    #: Seconds by step: `blocked` of the graph's thread, `queued`, `encode`, `upload`.
    timings: dict[str, float] = field(default_factory=dict)
    created_at: float = field(default_factory=time.monotonic)
    #: The node's entry in `/history`.
    row: dict[str, Any] | None = None

    def report(self) -> dict[str, Any]:
        """Return what the service may know, which holds no secret."""
        row: dict[str, Any] = {
            "item": self.number,
            "node": self.node,
            "state": self.state,
            "rejected": self.rejected,
            "error": self.error,
            "tag": self.tag,
            "timings": {name: round(seconds, 5) for name, seconds in self.timings.items()},
        }
        if (file := self.encoded) is not None:
            row |= {
                "content_type": file.content_type,
                "size": file.size,
                "sha256": file.sha256,
                "md5": file.md5,
                "width": file.width,
                "height": file.height,
                "frames": file.frames,
                "fps": file.fps,
            }
        return row


@dataclass
class Delivery:
    """All results of one prompt."""

    prompt_id: str
    client_id: str | None
    files: list[DeliveryFile] = field(default_factory=list)
    revision: int = 1
    touched_at: float = field(default_factory=time.monotonic)
    #: Set when the graph's thread has reported the end of the prompt.
    ended: threading.Event = field(default_factory=threading.Event)
    #: Called, once each, at the next change.
    listeners: list[Callable[[], None]] = field(default_factory=list)


class Deliveries:
    """All deliveries of this server."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._deliveries: OrderedDict[str, Delivery] = OrderedDict()

    def add_file(self, prompt_id: str, node: str, client_id: str | None) -> DeliveryFile:
        """Add a file of a prompt that is being worked on."""
        with self._lock:
            delivery = self._deliveries.setdefault(prompt_id, Delivery(prompt_id, client_id))
            file = DeliveryFile(len(delivery.files), node)
            delivery.files.append(file)
            self._touch(delivery)
            return file

    def change(self, prompt_id: str, change: Callable[[Delivery], None], *, silent: bool = False) -> bool:
        """Change a delivery under the lock and notify those that wait; False if it was released.

        `silent` notifies none: for a change of which the service knows, because it has caused it.
        """
        with self._lock:
            delivery = self._deliveries.get(prompt_id)
            if delivery is None:
                return False
            change(delivery)
            if not silent:
                self._touch(delivery)
            return True

    def find(self, prompt_id: str) -> Delivery | None:
        with self._lock:
            return self._deliveries.get(prompt_id)

    def snapshot(self, prompt_id: str) -> dict[str, Any] | None:
        """Return the state of a delivery for the service; None if it is unknown."""
        with self._lock:
            delivery = self._deliveries.get(prompt_id)
            if delivery is None:
                return None
            delivery.touched_at = time.monotonic()
            files = [file.report() for file in delivery.files]
            return {"protocol": PROTOCOL, "revision": delivery.revision, "files": files}

    def listen(self, prompt_id: str, after: int, listener: Callable[[], None]) -> bool:
        """Have `listener` called at the next change; False if there already is one after revision `after`.

        While every file is still being encoded, there is nothing for a service that asks for the first time.
        """
        with self._lock:
            delivery = self._deliveries.get(prompt_id)
            if delivery is None:
                return False
            is_first = after == 0 and all(file.state == WORKING for file in delivery.files)
            if delivery.revision > after and not is_first:
                return False
            delivery.listeners.append(listener)
            return True

    def remove(self, prompt_id: str) -> Delivery | None:
        """Forget a delivery; return it, so that its bytes can be given back."""
        with self._lock:
            delivery = self._deliveries.pop(prompt_id, None)
            if delivery is not None:
                self._notify(delivery)
            return delivery

    def unclaimed(self, now: float) -> list[str]:
        """Return prompts whose delivery no client has requested for too long, and those that are too many."""
        with self._lock:
            late = [key for key, one in self._deliveries.items() if now - one.touched_at > UNCLAIMED_SECONDS]
            surplus = max(0, len(self._deliveries) - MAX_DELIVERIES)
            return [*late, *(key for key, _ in zip(self._deliveries, range(surplus), strict=False))]

    def count_states(self) -> dict[str, int]:
        """Return the number of files in each state."""
        counts: dict[str, int] = {}
        with self._lock:
            for file in self._all_files():
                counts[file.state] = counts.get(file.state, 0) + 1
        return counts

    def _all_files(self) -> Iterator[DeliveryFile]:
        for delivery in self._deliveries.values():
            yield from delivery.files

    def _touch(self, delivery: Delivery) -> None:
        delivery.revision += 1
        self._notify(delivery)

    @staticmethod
    def _notify(delivery: Delivery) -> None:
        listeners: Sequence[Callable[[], None]] = delivery.listeners
        delivery.listeners = []
        for listener in listeners:
            listener()
