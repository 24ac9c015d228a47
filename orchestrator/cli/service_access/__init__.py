"""How commands reach the running service and its data, and how `up` runs it."""
