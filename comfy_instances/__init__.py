"""ComfyUI instances: protocol, sessions, processes, fleets, and a simulator."""
