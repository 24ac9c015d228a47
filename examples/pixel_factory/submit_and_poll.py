"""Submit a generation without waiting for it, poll its job and download the result as video.mp4."""

import os
import time
from pathlib import Path

import httpx

client = httpx.Client(
    base_url=os.environ["PIXELFACTORY_URL"],
    headers={"Authorization": f"Bearer {os.environ['PIXELFACTORY_API_KEY']}"},
    timeout=30,
)
body = {"model": "wan2.1-t2v-fast", "prompt": "Waves breaking on a rocky shore", "num_frames": 33}

quote = client.post("/api/v1/quote", json=body).raise_for_status().json()
print(f"costs {quote['cost_cents']} cents")

# With `Prefer: respond-async` the response is 202 with a job. A repeated request with the same
# `Idempotency-Key` returns the same job and is charged once.
headers = {"Prefer": "respond-async", "Idempotency-Key": os.urandom(16).hex()}
job = client.post("/api/v1/images/generations", json=body, headers=headers).raise_for_status().json()
while job["status"] in ("pending", "processing"):
    time.sleep(1)
    job = client.get(f"/api/v1/jobs/{job['jobId']}").raise_for_status().json()
if job["status"] != "completed":
    raise SystemExit(f"the job {job['status']}: {job.get('error')}")
# The URL needs no API key, and expires.
url = job["output"]["videos"][0]
Path("video.mp4").write_bytes(httpx.get(url).raise_for_status().content)
print("saved video.mp4")
