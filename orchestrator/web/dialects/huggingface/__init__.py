"""HuggingFace's text-to-image task: bytes out."""
