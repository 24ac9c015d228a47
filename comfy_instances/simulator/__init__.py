"""A server that answers, validates, queues and reports as ComfyUI v0.33.0 does, without its models.

    application  ->  routes (prompt, job, file, info, fault)  ->  instance
    instance     =   prompt queue + websocket hub + worker thread
    worker       ->  executor (order, cache, progress)  ->  nodes  ->  device (memory, time)

Image, latent, mask, audio and video utility nodes do their real work. What needs a model yields a
deterministic stand-in that depends on everything a model's result would depend on.

Where it differs from a real one on purpose: it claims to have every weight file that a graph names; a
device whose name begins with `simulated` and a key in the metadata of its files say what it is;
`/simulator/faults` makes it fail; `--time-scale` and `--vram-gb` stand for a GPU's time and memory.
"""
