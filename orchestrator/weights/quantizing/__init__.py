"""Quantize weight files to NVFP4, MXFP8 and scaled fp8, in the format that the pinned ComfyUI loads."""

from __future__ import annotations
