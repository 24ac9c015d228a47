"""AUTOMATIC1111's dialect: draw an image and save it as output.png."""

import os
from base64 import b64decode
from pathlib import Path

import httpx

response = httpx.post(
    f"{os.environ['PIXELFACTORY_URL']}/sdapi/v1/txt2img",
    auth=("any", os.environ["PIXELFACTORY_API_KEY"]),
    json={"prompt": "A fox in the snow", "negative_prompt": "blur", "width": 1024, "height": 1024, "seed": 7},
    timeout=600,
).raise_for_status()
Path("output.png").write_bytes(b64decode(response.json()["images"][0]))
print("saved output.png")
