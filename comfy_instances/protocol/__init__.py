"""ComfyUI's protocol: messages, answers and errors as values."""
