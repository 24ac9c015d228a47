"""Child processes: launch, restart policy, logs, and the installed ComfyUI."""
