"""Objects that were stored a moment ago, because most are asked for at once and then never again."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

#: Bytes kept in all, and of one object at most.
CAPACITY, LARGEST = 32 * 2**20, 8 * 2**20


class Recent:
    """The bytes of the last objects by key, up to a fixed size. Safe to use from any thread."""

    def __init__(self, capacity: int = CAPACITY, largest: int = LARGEST) -> None:
        self._capacity, self._largest = capacity, largest
        self._objects: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def keep(self, key: str, data: bytes) -> None:
        if len(data) > self._largest:
            return
        with self._lock:
            self._drop(key)
            self._objects[key] = data
            self._size += len(data)
            while self._size > self._capacity:
                self._drop(next(iter(self._objects)))

    def get(self, key: str) -> bytes | None:
        with self._lock:
            return self._objects.get(key)

    def drop(self, key: str) -> None:
        with self._lock:
            self._drop(key)

    def _drop(self, key: str) -> None:
        self._size -= len(self._objects.pop(key, b""))
