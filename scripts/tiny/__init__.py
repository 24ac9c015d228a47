"""Networks of real architectures, so small or so empty that a CPU runs them in seconds."""
