"""ComfyUI's UI format: parsing, and conversion to the API format."""
