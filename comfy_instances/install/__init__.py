"""Installs the pinned ComfyUI and its node packs."""
