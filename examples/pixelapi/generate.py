"""PixelAPI's dialect: submit a generation, poll it and save it as output.png."""

import os
import time
from pathlib import Path

import httpx

client = httpx.Client(
    base_url=os.environ["PIXELFACTORY_URL"],
    headers={"Authorization": f"Bearer {os.environ['PIXELFACTORY_API_KEY']}"},
    timeout=30,
)
body = {"model": "sdxl", "prompt": "A futuristic city at sunset", "steps": 20}
submitted = client.post("/v1/image/generate", json=body).raise_for_status().json()
print(f"costs {submitted['credits_used']} credits")
generation = submitted
while generation["status"] in ("queued", "processing"):
    time.sleep(1)
    path = f"/v1/image/{submitted['generation_id']}"
    generation = client.get(path).raise_for_status().json()
if generation["status"] != "completed":
    raise SystemExit(f"the generation is {generation['status']}: {generation.get('error')}")
Path("output.png").write_bytes(httpx.get(generation["output_url"]).raise_for_status().content)
print("saved output.png")
