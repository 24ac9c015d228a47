"""Cache recently stored objects in memory: most are requested at once and then never again."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

#: Maximum bytes of all cached objects, and of one.
CAPACITY_BYTES, MAX_OBJECT_BYTES = 32 * 2**20, 8 * 2**20


class RecentObjectCache:
    """The data of the most recently stored objects by key, up to a total size. Thread-safe."""

    def __init__(
        self, capacity_bytes: int = CAPACITY_BYTES, max_object_bytes: int = MAX_OBJECT_BYTES
    ) -> None:
        self._capacity_bytes, self._max_object_bytes = capacity_bytes, max_object_bytes
        self._objects: OrderedDict[str, bytes] = OrderedDict()
        self._size_bytes = 0
        self._lock = Lock()

    def put(self, key: str, data: bytes) -> None:
        if len(data) > self._max_object_bytes:
            return
        with self._lock:
            self._remove(key)
            self._objects[key] = data
            self._size_bytes += len(data)
            while self._size_bytes > self._capacity_bytes:
                self._remove(next(iter(self._objects)))

    def get(self, key: str) -> bytes | None:
        with self._lock:
            return self._objects.get(key)

    def delete(self, key: str) -> None:
        with self._lock:
            self._remove(key)

    def _remove(self, key: str) -> None:
        self._size_bytes -= len(self._objects.pop(key, b""))
