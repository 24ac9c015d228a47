"""PixelDojo's dialect: run a model, poll its job and save the image as output.png."""

import os
import time
from pathlib import Path

import httpx

client = httpx.Client(
    base_url=f"{os.environ['PIXELFACTORY_URL']}/api/v1",
    headers={"Authorization": f"Bearer {os.environ['PIXELFACTORY_API_KEY']}"},
    timeout=30,
)
body = {"prompt": "A sunset over the sea", "aspect_ratio": "16:9"}
submitted = client.post("/models/flux-1-dev/run", json=body).raise_for_status().json()
print(f"costs {submitted['creditCost']} credits, {submitted['creditsRemaining']} remain")
job = submitted
while job["status"] in ("pending", "processing"):
    time.sleep(1)
    job = client.get(submitted["statusUrl"]).raise_for_status().json()
if job["status"] != "completed":
    raise SystemExit(f"the job {job['status']}: {job.get('error')}")
Path("output.png").write_bytes(httpx.get(job["output"]["images"][0]).raise_for_status().content)
print("saved output.png")
