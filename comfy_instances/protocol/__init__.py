"""ComfyUI's protocol: messages, responses and errors as values. Pure."""
