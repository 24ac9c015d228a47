"""Delivers results of runs to object storage while the next prompt runs, and fetches input files ahead of it.

ComfyUI encodes and writes files on the thread that runs the graph. The nodes of this package hand their
pixels to worker threads instead and return at once. The service follows each delivery by `routes`, and grants
one presigned request per file, for the very object that the file becomes. No graph, history or log holds such
a request.

    nodes       what replaces the nodes that save files
    courier     queues, threads, and the limit on memory
    state       the deliveries and their files
    encoding, png, files    pixels and ComfyUI's own savers to bytes
    upload      the PUT request
    inputs      input files by digest, cached
    previews    previews at a bounded rate
    garbage     shorter pauses between prompts
    routes      what the service asks and grants
"""
