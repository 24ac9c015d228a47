"""Plan, download, verify and quantize the weight files that models need."""

from __future__ import annotations
