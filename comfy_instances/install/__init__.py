"""Installing the pinned ComfyUI and its node packs."""
