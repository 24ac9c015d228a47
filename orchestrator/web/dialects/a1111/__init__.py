"""The API of AUTOMATIC1111's Stable Diffusion web UI, below `/sdapi/v1`."""
