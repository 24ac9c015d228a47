"""The price of measured GPU time."""

from __future__ import annotations

import math


def price_gpu_time(seconds: float, micros_per_second: int) -> int:
    """Return the micro-dollars of GPU time, by milliseconds, rounded up; at least those of one second."""
    milliseconds = max(1000, math.ceil(max(seconds, 0.0) * 1000))
    return -(-milliseconds * micros_per_second // 1000)
