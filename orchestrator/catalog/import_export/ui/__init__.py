"""Parse ComfyUI's UI format, and convert it to the API format."""
