"""Input files of requests: decoding, limits, conversion."""
