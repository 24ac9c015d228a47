"""Networks of real architectures, small or sparse enough to run on a CPU in seconds."""
