"""Write files completely or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a draft next to `path`; it replaces `path` when the block ends without an exception.

    The directory must exist. Raises OSError. For files that hold secrets use `write_private`.
    """
    draft = path.with_name(f"{path.name}.new")
    # Of an earlier process, or a link of another user to a file of ours.
    draft.unlink(missing_ok=True)
    try:
        with draft.open("xb") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
