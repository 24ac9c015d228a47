"""Parameters of a model: types, ranges, sizes, and their JSON Schema."""
