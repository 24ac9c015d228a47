"""Graph validation as `POST /prompt` does it."""
