"""HTTP building blocks: bodies, queries, byte ranges, event streams."""
