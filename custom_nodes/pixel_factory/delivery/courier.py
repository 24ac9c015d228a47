"""The threads that encode and upload, and the limit on what they hold. One courier per server."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from . import state, upload
from .budget import Budget
from .encoding import EncodedFile, with_digests
from .state import Deliveries, Delivery, DeliveryFile, Grant

log = logging.getLogger(__name__)

MEMORY_VARIABLE, THREADS_VARIABLE = "PIXEL_FACTORY_DELIVERY_MEMORY_MB", "PIXEL_FACTORY_DELIVERY_THREADS"
DEFAULT_MEMORY_MB = 1024
#: Uploads wait for the network, not for the processor.
UPLOAD_THREADS = 4
#: How long an upload is tried while object storage is unavailable, in seconds; then the service fetches the
#: file.
UPLOAD_SECONDS = 90.0
#: Rejected requests after which the service fetches the file.
MAX_REJECTED = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
#: How long an encoder lets the graph's thread go first at most, in seconds: until that has reported the end
#: of its prompt, which takes a millisecond, and several beside an encoder that needs the interpreter.
HEAD_START_SECONDS = 0.01

#: Makes the files of one result. Called in an encoder thread.
Encode = Callable[[], Sequence[EncodedFile]]
#: Learns that a file has reached a final state.
Observer = Callable[[Delivery, DeliveryFile], None]
#: Learns the state of a delivery when files of it are encoded, or cannot be.
Announcer = Callable[[Delivery, dict[str, Any]], None]


class Courier:
    """Encodes results and uploads them when the service has granted it."""

    def __init__(
        self,
        *,
        memory: int,
        threads: int,
        observer: Observer = lambda *_: None,
        announcer: Announcer = lambda *_: None,
        upload_seconds: float = UPLOAD_SECONDS,
        head_start: float = HEAD_START_SECONDS,
    ) -> None:
        self._upload_seconds, self._head_start = upload_seconds, head_start
        self.deliveries = Deliveries()
        self.budget = Budget(memory)
        self._observer, self._announcer = observer, announcer
        self._encoding: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._uploading: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.threads = threads
        for number in range(threads):
            self._start(self._encoding, f"encoder-{number}")
        for number in range(UPLOAD_THREADS):
            self._start(self._uploading, f"upload-{number}")

    @staticmethod
    def _start(work: queue.SimpleQueue[Callable[[], None]], name: str) -> None:
        def run() -> None:
            while True:
                task = work.get()
                try:
                    task()
                except BaseException:  # the thread must outlive whatever an encoder raises
                    log.exception("a task of %s failed", name)

        threading.Thread(target=run, name=f"pixel-factory-{name}", daemon=True).start()

    def deliver(
        self,
        *,
        prompt_id: str,
        node: str,
        client_id: str | None,
        reserved: int,
        blocked: float,
        encode: Encode,
        row: dict[str, Any] | None = None,
    ) -> DeliveryFile:
        """Have a result encoded and delivered; return at once.

        `reserved` are the bytes that the caller has acquired for it from the budget, `blocked` the seconds
        that the graph's thread has spent on it. `row` is the output of the node, which gets the report.
        """
        self._drop_unclaimed()
        file = self.deliveries.add_file(prompt_id, node, client_id)
        file.reserved = reserved
        file.timings["blocked"], file.row = blocked, row
        self._encoding.put(lambda: self._encode(prompt_id, file, encode))
        return file

    def grant(self, prompt_id: str, grants: dict[int, Grant]) -> None:
        """Upload files that wait for their request."""

        def begin(delivery: Delivery) -> None:
            for file in delivery.files:
                if file.number not in grants:
                    continue
                if file.state == state.UPLOADING:
                    file.grant = grants[file.number]
                if file.state == state.ENCODED:
                    file.grant, file.state, file.error = grants[file.number], state.UPLOADING, ""
                    self._uploading.put(lambda one=file: self._upload(prompt_id, one))  # type: ignore[misc]

        self.deliveries.change(prompt_id, begin, silent=True)

    def fetch(self, prompt_id: str, number: int) -> EncodedFile | None:
        """Return a file for the service to take; None if there is none with its bytes."""
        delivery = self.deliveries.find(prompt_id)
        if delivery is None or not 0 <= number < len(delivery.files):
            return None
        return delivery.files[number].encoded

    def end_prompt(self, prompt_id: str) -> None:
        """Let encoders begin with the results of a prompt whose end is reported."""
        if (delivery := self.deliveries.find(prompt_id)) is not None:
            delivery.ended.set()

    def release(self, prompt_id: str) -> bool:
        """Forget a delivery, whatever its state, and give its memory back."""
        delivery = self.deliveries.remove(prompt_id)
        for file in delivery.files if delivery else ():
            self._free(file)
        return delivery is not None

    def describe(self) -> dict[str, Any]:
        """Return the load of the courier, for metrics."""
        return {
            "memory_limit": self.budget.limit,
            "memory_used": self.budget.used,
            "waiting": self.budget.waiting,
            "waited_seconds": round(self.budget.waited_seconds, 3),
            "threads": self.threads,
            "states": self.deliveries.count_states(),
        }

    def _drop_unclaimed(self) -> None:
        for prompt_id in self.deliveries.unclaimed(time.monotonic()):
            log.warning("the results of prompt %s were not collected", prompt_id)
            self.release(prompt_id)

    def _encode(self, prompt_id: str, file: DeliveryFile, encode: Encode) -> None:
        if (delivery := self.deliveries.find(prompt_id)) is not None:
            delivery.ended.wait(max(0.0, file.created_at + self._head_start - time.monotonic()))
        started = time.monotonic()
        file.timings["queued"] = started - file.created_at
        if self.deliveries.find(prompt_id) is None:
            self._free(file)
            return
        try:
            made = [with_digests(each) for each in encode()]
            if not made:
                raise ValueError("the node has saved no file")
        except BaseException as error:
            log.exception("cannot encode a result of prompt %s", prompt_id)
            self._finish(prompt_id, file, state.FAILED, f"{type(error).__name__}: {error}"[:2000])
            self._announce(prompt_id)
            return
        file.timings["encode"] = time.monotonic() - started
        self._add_encoded(prompt_id, file, made)

    def _add_encoded(self, prompt_id: str, file: DeliveryFile, made: Sequence[EncodedFile]) -> None:
        """Put the files of a result in the place of what was being worked on."""
        offered: list[DeliveryFile] = []

        def add(delivery: Delivery) -> None:
            files = [file, *(replace(file, number=len(delivery.files) + n) for n in range(len(made) - 1))]
            delivery.files.extend(files[1:])
            self.budget.resize(file.reserved, sum(each.size for each in made))
            for one, encoded in zip(files, made, strict=True):
                one.encoded, one.reserved = encoded, encoded.size
                one.timings = dict(file.timings)
                one.state = state.OFFERED if encoded.must_offer else state.ENCODED
                if encoded.must_offer:
                    offered.append(one)

        if not self.deliveries.change(prompt_id, add):
            self._free(file)
        self._announce(prompt_id)
        for one in offered:
            self._observe(prompt_id, one)

    def _upload(self, prompt_id: str, file: DeliveryFile) -> None:
        started, pause = time.monotonic(), _FIRST_PAUSE
        while self.deliveries.find(prompt_id) is not None:
            grant, encoded = file.grant, file.encoded
            if grant is None or encoded is None:
                return
            try:
                file.tag = upload.put_file(grant, encoded.data)
            except upload.UploadUnavailable as error:
                if time.monotonic() - started > self._upload_seconds:
                    self._finish(prompt_id, file, state.OFFERED, str(error))
                    return
                file.error = str(error)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except upload.UploadRejected as error:
                self._reject(prompt_id, file, str(error))
                return
            except upload.UploadRefused as error:
                self._finish(prompt_id, file, state.OFFERED, str(error))
                return
            else:
                file.timings["upload"] = time.monotonic() - started
                self._finish(prompt_id, file, state.STORED, "")
                return

    def _reject(self, prompt_id: str, file: DeliveryFile, error: str) -> None:
        """Ask for another request, or give up after some."""
        file.rejected += 1
        if file.rejected >= MAX_REJECTED:
            self._finish(prompt_id, file, state.OFFERED, error)
            return

        def retry(_: Delivery) -> None:
            file.state, file.grant, file.error = state.ENCODED, None, error

        self.deliveries.change(prompt_id, retry)

    def _finish(self, prompt_id: str, file: DeliveryFile, final: str, error: str) -> None:
        def finish(_: Delivery) -> None:
            file.state, file.grant, file.error = final, None, error
            if final == state.STORED and file.encoded is not None:
                file.encoded = replace(file.encoded, data=b"")

        self.deliveries.change(prompt_id, finish)
        if final != state.OFFERED:
            self._free(file)
        self._observe(prompt_id, file)

    def _free(self, file: DeliveryFile) -> None:
        reserved, file.reserved = file.reserved, 0
        self.budget.release(reserved)

    def _announce(self, prompt_id: str) -> None:
        delivery, snapshot = self.deliveries.find(prompt_id), self.deliveries.snapshot(prompt_id)
        if delivery is None or snapshot is None:
            return
        try:
            self._announcer(delivery, snapshot)
        except Exception:
            log.exception("cannot announce a result of prompt %s", prompt_id)

    def _observe(self, prompt_id: str, file: DeliveryFile) -> None:
        delivery = self.deliveries.find(prompt_id)
        if delivery is None:
            return
        try:
            self._observer(delivery, file)
        except Exception:
            log.exception("cannot report a result of prompt %s", prompt_id)


def default_threads() -> int:
    """Return the number of encoder threads: half of the processors, which leaves the rest to the graph."""
    return max(1, min(4, (os.cpu_count() or 2) // 2))


def read_number(variable: str, default: int) -> int:
    """Return a positive number from the environment. Other values are reported and ignored."""
    text = os.environ.get(variable, "")
    if text.isdigit() and int(text) > 0:
        return int(text)
    if text:
        log.error("%s must be a positive number (got %r); using %d", variable, text, default)
    return default


@lru_cache(maxsize=1)
def get_courier() -> Courier:
    """Return the courier of this server; its threads start with the first result."""
    from .reports import announce_to_client, report_to_client

    memory = read_number(MEMORY_VARIABLE, DEFAULT_MEMORY_MB) * 2**20
    threads = read_number(THREADS_VARIABLE, default_threads())
    return Courier(memory=memory, threads=threads, observer=report_to_client, announcer=announce_to_client)
