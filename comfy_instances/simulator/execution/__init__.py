"""Execution of prompts on the simulator: queue, executor, cache, device."""
