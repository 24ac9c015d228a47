"""fal's dialect: run an app and save its image as output.png.

fal's own package, `fal-client`, speaks https only: docs/dialects/fal.md has its settings.
"""

import os
from pathlib import Path

import httpx

headers = {"Authorization": f"Key {os.environ['PIXELFACTORY_API_KEY']}"}
with httpx.Client(base_url=os.environ["PIXELFACTORY_URL"], headers=headers, timeout=600) as client:
    body = {"prompt": "A fox in the snow", "image_size": "landscape_4_3", "seed": 7}
    response = client.post("/fal/fal-ai/flux/schnell", json=body).raise_for_status()
image = response.json()["images"][0]
Path("output.png").write_bytes(httpx.get(image["url"]).raise_for_status().content)
print("saved output.png")
