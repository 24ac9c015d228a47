"""Memory for the frames of images and videos: of long videos, on disk.

Several simulators share the memory of one machine, and the frames of a video of 20 seconds in 1080p are 3 GB.
The operating system writes the pages of a file out when it needs the memory.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable

import numpy as np

from comfy_instances.simulator.execution.device import OutOfMemoryError
from comfy_instances.simulator.nodes.values import ImageArray

#: Larger batches are in a file.
MAX_BYTES_IN_MEMORY = 256 * 1024**2
#: Maximum size of a batch in bytes: 690 frames of 1920x1088 pixels.
MAX_FRAMES_BYTES = 4 * 1024**3


def check_frames_size(*shape: int) -> None:
    """Check the size of a batch of frames. Raises OutOfMemoryError if it exceeds MAX_FRAMES_BYTES."""
    size = int(np.prod(shape, dtype=np.float64))
    if size > MAX_FRAMES_BYTES:
        raise OutOfMemoryError(f"not enough memory: tried to allocate {size} bytes")


def allocate_frames(*shape: int) -> ImageArray:
    """Return an array for frames, with values to be set. Raises OutOfMemoryError if there is no space."""
    check_frames_size(*shape)
    size = int(np.prod(shape, dtype=np.int64))
    if size <= MAX_BYTES_IN_MEMORY:
        return np.empty(shape, np.uint8)
    # The file has no name, and ends with the array.
    with tempfile.TemporaryFile(prefix="simulator-frames-") as file:
        try:
            # A write to a map of a file without space would end the process.
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise OutOfMemoryError(f"not enough space for {size} bytes of frames: {error}") from error
        return np.memmap(file, np.uint8, "r+", shape=shape)


def join_frames(first: ImageArray, second: ImageArray) -> ImageArray:
    """Return the frames of both, which have the same size."""
    joined = allocate_frames(len(first) + len(second), *first.shape[1:])
    joined[: len(first)] = first
    joined[len(first) :] = second
    return joined


def collect_frames(frames: Iterable[ImageArray], expected: int, *shape: int) -> ImageArray:
    """Return frames of `shape` as one batch. There are about as many as `expected`.

    Raises ValueError if there are none.
    """
    batch = allocate_frames(max(1, expected), *shape)
    count = 0
    for frame in frames:
        if count == len(batch):
            batch = join_frames(batch, allocate_frames(count, *shape))
        batch[count] = frame
        count += 1
    if not count:
        raise ValueError("the video has no frames")
    return batch[:count]
