"""Runs and drives ComfyUI instances: protocol, sessions, processes, fleets, installation and a simulator."""
