"""Replicate's dialect, by its own package: run a model and save its image as output.webp."""

import os
from pathlib import Path

import httpx
from replicate.client import Client

client = Client(base_url=os.environ["PIXELFACTORY_URL"], api_token=os.environ["PIXELFACTORY_API_KEY"])
(image,) = client.run(
    "black-forest-labs/flux-schnell",
    input={"prompt": "A fox in the snow", "aspect_ratio": "3:2", "output_format": "webp", "seed": 7},
)
Path("output.webp").write_bytes(httpx.get(str(image)).raise_for_status().content)
print("saved output.webp")
