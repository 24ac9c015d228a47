"""A session with one ComfyUI server: its HTTP client, websocket and prompts in flight."""
