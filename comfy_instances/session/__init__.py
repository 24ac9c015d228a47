"""A session with one ComfyUI server: its HTTP client, event socket and prompt runs."""
