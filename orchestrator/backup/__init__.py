"""Back up a data directory while its service runs, and restore it; see docs/how-to/operators.md."""
