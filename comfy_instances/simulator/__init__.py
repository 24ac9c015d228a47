"""A server that answers, validates, queues and reports as ComfyUI v0.33.0 does, without its models.

    application  ->  routes (prompt, job, file, info, fault)  ->  instance
    instance     =   prompt queue + websocket hub + worker thread
    worker       ->  executor (order, cache, progress)  ->  nodes  ->  device (memory, time)

Image, latent, mask, audio and video utility nodes do their real work. What needs a model yields a
deterministic stand-in that depends on everything a model's result would depend on.
"""
