"""Comfy's clients: API v2, ComfyUI's own API for callers' graphs, and Comfy Router."""
