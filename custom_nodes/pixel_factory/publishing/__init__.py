"""Routes on ComfyUI's server that publish graphs to a Pixel Factory service. They keep the service's key."""
