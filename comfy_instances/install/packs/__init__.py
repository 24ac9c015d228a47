"""Installs ComfyUI node packs: pinned by commit, resolved together, tried before they are used."""
