"""A server that responds, validates, queues and reports as ComfyUI v0.33.0 does, without its models.

    application  ->  routes (prompt, job, file, info, fault)  ->  instance
    instance     =   prompt queue + websocket hub + worker thread
    worker       ->  executor (order, cache, progress)  ->  nodes  ->  device (memory, time)

Utility nodes for images, latents, masks, audio and video compute real results. Nodes that need a model
return deterministic placeholder media that depends on everything a model's result would depend on.

Intended differences from a real instance: it reports every weight file that a graph names as present; the
device name begins with `simulated`, and a metadata key marks its files; `/simulator/faults` injects
failures; `--time-scale` and `--vram-gb` set simulated execution times and GPU memory.
"""
