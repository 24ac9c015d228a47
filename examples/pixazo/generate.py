"""Pixazo's dialect: one request that responds with its result, and one that is queued and polled."""

import os
import time
from pathlib import Path

import httpx

client = httpx.Client(
    base_url=os.environ["PIXELFACTORY_URL"],
    headers={"Ocp-Apim-Subscription-Key": os.environ["PIXELFACTORY_API_KEY"]},
    timeout=60,
)
body = {"prompt": "A dog on the beach", "num_steps": 4, "width": 512, "height": 512}
result = client.post("/flux-1-schnell/v1/getData", json=body).raise_for_status().json()
Path("dog.png").write_bytes(httpx.get(result["output"]).raise_for_status().content)
print("saved dog.png")

body = {"prompt": "A city at sunset", "image_size": "landscape_4_3"}
queued = client.post("/flux-dev/v1/dev/textToImage", json=body).raise_for_status().json()
status = queued
while status["status"] not in ("COMPLETED", "FAILED", "ERROR"):
    time.sleep(1)
    status = client.get(queued["polling_url"]).raise_for_status().json()
if status["status"] != "COMPLETED":
    raise SystemExit(f"the request is {status['status']}: {status.get('error')}")
Path("city.png").write_bytes(httpx.get(status["output"]["media_url"][0]).raise_for_status().content)
print("saved city.png")
